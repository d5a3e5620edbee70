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

/// How many, where it is told.
#[must_use]
pub fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A count with the word, or the words, for what is counted.
#[must_use]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// `1, 2 and 3`
#[must_use]
pub fn listed(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    match items.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_as_sentences_do() {
        assert_eq!(listed(&[""; 0]), "");
        assert_eq!([listed(&[1]), listed(&[1, 2]), listed(&[1, 2, 3])], ["1", "1 and 2", "1, 2 and 3"]);
    }

    #[test]
    fn every_three_digits_from_the_end_are_set_apart() {
        let texts = [0, 12, 999, 1000, 6600, 1_512_345].map(grouped);
        assert_eq!(texts, ["0", "12", "999", "1,000", "6,600", "1,512,345"]);
    }
}
