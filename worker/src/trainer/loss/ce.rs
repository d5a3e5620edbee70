use tch::Tensor;

/// Cross entropy −(1/N) Σᵢ log softmax(sᵢ)[yᵢ].
/// `logits` `[N, C]`, `labels` i64 `[N]`. Returns a scalar.
pub fn ce(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.log_softmax(-1, logits.kind()).nll_loss(labels)
}
