//! Stochastic gradient descent as PyTorch does it, without dampening and Nesterov (METHOD.md §2).

use sweep::recipe::Recipe;
use tch::Tensor;

use super::native::{Sgd, fused_sgd};

/// What the optimizer works with during one epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// The schedule's.
    pub lr: f64,
    pub head_lr: f64,
    pub backbone_lr: f64,
    pub momentum: f64,
    pub weight_decay: f64,
}

impl Rates {
    #[must_use]
    pub fn of(recipe: &Recipe, epoch: u32) -> Rates {
        let lr = recipe.learning_rate(epoch);
        let Recipe { momentum, weight_decay, head_lr_mult, backbone_lr_mult, .. } = *recipe;
        Rates { lr, head_lr: lr * head_lr_mult, backbone_lr: lr * backbone_lr_mult, momentum, weight_decay }
    }
}

/// Parameters that share a learning rate.
#[derive(Debug)]
pub struct Group<'a> {
    pub parameters: Vec<&'a Tensor>,
    pub lr: f64,
}

/// One velocity per parameter, in the groups' order.
#[derive(Debug, Default)]
pub struct Momentum {
    pub velocities: Vec<Tensor>,
}

impl Momentum {
    /// v ← μ v + (∇L + δ w), w ← w − η v for each parameter, in place, with η the group's rate, μ `momentum` and δ
    /// `weight_decay`.
    ///
    /// A parameter beyond those of the last step begins with velocity 0, which gives what PyTorch's first step gives.
    pub fn step(&mut self, loss: &Tensor, groups: &[Group<'_>], momentum: f64, weight_decay: f64) {
        let parameters: Vec<&Tensor> =
            groups.iter().flat_map(|group| group.parameters.iter().copied()).collect();
        let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
        let _guard = tch::no_grad_guard();
        if momentum > 0.0 {
            let new = parameters.iter().skip(self.velocities.len()).map(|parameter| parameter.zeros_like());
            self.velocities.extend(new);
        }
        let mut first = 0;
        for group in groups {
            let these = first..first + group.parameters.len();
            first = these.end;
            if these.is_empty() {
                continue;
            }
            let velocities = if momentum > 0.0 { &self.velocities[these.clone()] } else { &[] };
            let gradients = &gradients[these];
            fused_sgd(&group.parameters, gradients, velocities, Sgd { lr: group.lr, momentum, weight_decay });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_follow_the_formula() {
        let w = Tensor::from(2.0).set_requires_grad(true);
        let mut momentum = Momentum::default();
        let group = || Group { parameters: vec![&w], lr: 0.1 };
        // L = w², ∇L = 2w. v = 2·2 + 0.5·2 = 5, w = 2 − 0.5 = 1.5; v = 0.9·5 + 2.5·1.5 = 8.25, w = 0.675.
        momentum.step(&w.square(), &[group()], 0.9, 0.5);
        assert!((w.double_value(&[]) - 1.5).abs() < 1e-12);
        momentum.step(&w.square(), &[group()], 0.9, 0.5);
        assert!((w.double_value(&[]) - 0.675).abs() < 1e-12);
    }

    #[test]
    fn a_step_without_momentum_is_plain_descent() {
        let w = Tensor::from(2.0).set_requires_grad(true);
        let mut momentum = Momentum::default();
        for expected in [1.6, 1.28] {
            momentum.step(&w.square(), &[Group { parameters: vec![&w], lr: 0.1 }], 0.0, 0.0);
            assert!((w.double_value(&[]) - expected).abs() < 1e-12);
        }
        assert!(momentum.velocities.is_empty());
    }

    #[test]
    fn a_gradient_in_another_order_of_memory_reaches_the_right_places() {
        let w = Tensor::zeros([2, 3], (tch::Kind::Double, tch::Device::Cpu)).set_requires_grad(true);
        let direction = Tensor::arange(6, (tch::Kind::Double, tch::Device::Cpu)).view([2, 3]);
        // The gradient of this sum is a transposed view.
        let loss = (w.tr() * direction.tr().contiguous()).sum(tch::Kind::Double);
        Momentum::default().step(&loss, &[Group { parameters: vec![&w], lr: 1.0 }], 0.9, 0.0);
        assert_eq!(w.detach(), -direction);
    }

    #[test]
    fn a_parameter_that_joins_later_leaves_the_others_momentum() {
        let (w, token) =
            (Tensor::from(2.0).set_requires_grad(true), Tensor::from(1.0).set_requires_grad(true));
        let mut momentum = Momentum::default();
        let group = |parameters| Group { parameters, lr: 0.1 };
        momentum.step(&w.square(), &[group(vec![&w])], 0.9, 0.0);
        momentum.step(&(w.square() + token.square()), &[group(vec![&w]), group(vec![&token])], 0.9, 0.0);
        // v = 4, w = 1.6; v = 3.6 + 3.2 = 6.8, w = 0.92. The token: v = 2, 1 − 0.2 = 0.8.
        assert!((w.double_value(&[]) - 0.92).abs() < 1e-12);
        assert!((token.double_value(&[]) - 0.8).abs() < 1e-12);
    }
}
