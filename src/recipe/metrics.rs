//! TEMPORARY: replaced by the merge of branch `recipe`.
pub fn on_set(metric: &str, set: Option<&str>) -> String {
    set.map_or_else(|| metric.to_owned(), |set| format!("{set}_{metric}"))
}
pub fn probe_metric(mult: f64, several: bool, set: Option<&str>) -> String {
    let prefix = if several { format!("lp_x{mult}") } else { "lp".to_owned() };
    format!("{prefix}_{}", on_set("top1", set))
}
