/// A count as people read it: `6,600`.
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_three_digits_from_the_end_are_set_apart() {
        let texts = [0, 12, 999, 1000, 6600, 1_512_345].map(grouped);
        assert_eq!(texts, ["0", "12", "999", "1,000", "6,600", "1,512,345"]);
    }
}
