//! RankMe (Garrido et al. 2023, arXiv 2210.02885, equation 1): how many directions features effectively use.

use tch::{Device, Kind, Tensor};

/// exp(−Σ p log p) with p = σ/Σσ + 1e-7 over the singular values σ of `features` `[N, D]`, rows as they are.
///
/// Singular values are computed in float64 whatever the features' kind: the smallest ones count in the sum. Waits for
/// the device. `None` for features that are all zero or not finite, which have no rank to speak of.
#[must_use]
pub fn rankme(features: &Tensor) -> Option<f64> {
    const EPSILON: f64 = 1e-7;
    let _guard = tch::no_grad_guard();
    let features = features.to_kind(Kind::Double);
    if features.isfinite().all().int64_value(&[]) == 0 {
        return None; // LAPACK refuses such matrices.
    }
    // The triangular factor has the same singular values and at most D rows. tch's `linalg_svdvals` can't leave its
    // `driver` open, which fails on the CPU; `svd` would make an N × N matrix beside.
    let (_, triangle) = Tensor::linalg_qr(&features, "r"); // [min(N, D), D]
    let (_, singular_values, _) = triangle.to_device(Device::Cpu).svd(true, false); // [min(N, D)]
    let p = &singular_values / singular_values.sum(Kind::Double) + EPSILON;
    let rank = (-(&p * p.log()).sum(Kind::Double)).exp().double_value(&[]);
    rank.is_finite().then_some(rank)
}

/// The same with rows scaled to unit length, as the study logs it of one batch.
#[must_use]
pub fn rankme_of_unit_rows(features: &Tensor) -> Option<f64> {
    /// Leaves a row of zeros what it is.
    const SMALLEST_NORM: f64 = 1e-12;
    let features = features.detach().to_kind(Kind::Double);
    rankme(&(&features / features.norm_scalaropt_dim(2, [1], true).clamp_min(SMALLEST_NORM)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_directions_count_one_each() {
        let identity = Tensor::eye(5, (Kind::Float, Device::Cpu));
        assert!((rankme(&identity).unwrap() - 5.0).abs() < 1e-4);
        assert!((rankme_of_unit_rows(&(identity * 3.0)).unwrap() - 5.0).abs() < 1e-4);
    }

    #[test]
    fn a_figure_ignores_the_scale_of_all_features_but_not_of_some() {
        let rows = Tensor::from_slice(&[1.0, 0.0, 0.0, 9.0]).view([2, 2]);
        assert!((rankme(&rows).unwrap() - rankme(&(&rows * 10.0)).unwrap()).abs() < 1e-9);
        assert!(rankme(&rows).unwrap() + 0.3 < rankme_of_unit_rows(&rows).unwrap());
    }

    #[test]
    fn features_without_a_rank_have_no_value() {
        let zero = Tensor::zeros([4, 3], (Kind::Float, Device::Cpu));
        assert_eq!(rankme(&zero), None);
        assert_eq!(rankme_of_unit_rows(&zero), None);
        assert_eq!(rankme(&(zero + f64::NAN)), None);
    }
}
