/// The known name that `name` was probably meant to be: one a few slips away, or else the only one of which it is a
/// part, as `gamma` is of `lr_gamma`. `None` where nothing is near.
#[must_use]
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> Option<&'k str> {
    let by_slips = nearest_by_slips(name, known.clone());
    let mut whole = known.into_iter().filter(|candidate| candidate.split('_').any(|part| part == name));
    by_slips.or_else(|| whole.next().filter(|_| whole.next().is_none()))
}

fn nearest_by_slips<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
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
        assert_eq!(nearest("depth", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn a_part_is_recognised_where_it_belongs_to_one_name_only() {
        let known = ["lr_gamma", "mask_ratio", "ema_ratio"];
        assert_eq!(nearest("gamma", known), Some("lr_gamma"));
        assert_eq!(nearest("ratio", known), None);
    }
}
