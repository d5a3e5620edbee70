/// The known name that `name` was probably meant to be; `None` where none is near.
#[must_use]
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // One slip in three characters: more would offer `lr` for `d`, fewer would miss swapped and doubled letters.
    let most_slips = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(slips, candidate)| *slips <= most_slips && *slips < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["lr", "loss_weight", "mask_ratio"];
        assert_eq!(nearest("mask_ration", known), Some("mask_ratio"));
        assert_eq!(nearest("los_wieght", known), Some("loss_weight"));
        assert_eq!(nearest("l", known), Some("lr"));
        assert_eq!(nearest("dropout", known), None);
        assert_eq!(nearest("", known), None);
    }
}
