//! Three steps of training with each method in scope.

use serde_json::Value;
use sweep::recipe::{MaskMode, Masking, Method};
use sweep_worker::trainer::State;
use sweep_worker::trainer::loss;
use sweep_worker::trainer::mask::{Mask, removed_count};
use sweep_worker::trainer::model::Mode;
use sweep_worker::trainer::optimizer::{Momentum, Rates};
use sweep_worker::trainer::rankme::rankme_of_unit_rows;
use sweep_worker::trainer::reference::Reference;
use sweep_worker::trainer::train::total_loss;
use tch::{Kind, Tensor};

use crate::fixtures::{assert_close, assert_digest, load, permutation};
use crate::network::{filled, images};
use crate::recipe::{aux_loss, distillation, inverse};

/// Where the tolerances of the fixtures differ.
#[derive(Clone, Copy)]
struct Tolerances {
    losses: f64,
    tensors: f64,
    rankme: f64,
}

struct Run<'a> {
    fixture: &'a Value,
    run: &'a Value,
}

impl Run<'_> {
    fn argument(&self, name: &str) -> &Value {
        self.run["args"].get(name).unwrap_or(&self.fixture["argument_defaults"][name])
    }

    fn number(&self, name: &str) -> f64 {
        self.argument(name).as_f64().unwrap()
    }

    fn is_in_scope(&self) -> bool {
        self.argument("teacher") == "snapshot"
            && self.argument("teacher_bn") == "running"
            && self.argument("cls_only").is_null()
            && self.argument("multi") == 0
            && self.argument("mask").get("mode").is_none_or(|mode| mode == "s" || mode == "sgf")
    }

    fn method(&self) -> Method {
        let Some(kind) = self.argument("kind").as_str() else { return Method::Ce };
        let kd = distillation(aux_loss(kind, 2.0), self.number("weight"), self.number("ce_count"));
        let mask = self.argument("mask");
        if mask.is_null() {
            return Method::Kd(kd);
        }
        let mode = if mask["mode"] == "s" { MaskMode::TrainedScalar } else { MaskMode::ConstantScalar };
        let inverse = inverse(mask.get("inv").unwrap_or(&Value::Null));
        Method::Mask(kd, Masking { ratio: mask["r"].as_f64().unwrap(), mode, inverse })
    }

    /// The state that a run starts from: the method is on. Every scalar token of the fixtures is 0.05.
    fn start(&self, kind: Kind) -> State {
        let token = match self.method() {
            Method::Mask(_, masking) => {
                let is_trained = masking.mode == MaskMode::TrainedScalar;
                Some(Tensor::from(0.05).to_kind(kind).set_requires_grad(is_trained))
            }
            _ => None,
        };
        let student = filled(1, kind);
        let reference = Some(Reference::take(&filled(2, kind)));
        State { student, momentum: Momentum::default(), reference, token, epoch: 0 }
    }

    fn compare(&self, kind: Kind, tolerances: Tolerances) {
        let (method, mut state) = (self.method(), self.start(kind));
        let rates = Rates { lr: self.number("lr"), momentum: 0.9, weight_decay: 1e-4 };
        for (step, expected) in (0..).zip(self.run["steps"].as_array().unwrap()) {
            let images = images(500 + step, kind);
            let labels = Tensor::from_slice(&[0, 3, 6, 9].map(|label| (label + step as i64) % 10));
            let features = state.student.features(&images, Mode::Train);
            let logits = state.student.head.forward(&features);
            let ce = loss::ce(&logits, &labels);
            let aux = auxiliary(&state, &method, step, &images, &features, &logits);
            let total = total_loss(&method, &ce, aux.as_ref());
            let rank = Tensor::from(rankme_of_unit_rows(&features).unwrap());
            let what = |part: &str| format!("{} step {step} {part} in {kind:?}", self.run["name"]);
            assert_close(&what("ce"), &ce, &expected["ce"], tolerances.losses);
            let aux = aux.unwrap_or_else(|| Tensor::from(0.0));
            assert_close(&what("aux"), &aux, &expected["aux"], tolerances.losses);
            assert_close(&what("total"), &total, &expected["total"], tolerances.losses);
            assert_close(&what("rankme"), &rank, &expected["rankme"], tolerances.rankme);
            state.descend(&total, rates);
        }
        self.compare_end(&state, kind, tolerances.tensors);
    }

    fn compare_end(&self, state: &State, kind: Kind, tolerance: f64) {
        let relative = (kind == Kind::Float).then_some(1e-4);
        let mut compared = 0;
        for named in state.student.tensors() {
            let digest = self.run["params"].get(&named.name).or_else(|| self.run["bn"].get(&named.name));
            if let Some(digest) = digest {
                let what = format!("{} {} in {kind:?}", self.run["name"], named.name);
                assert_digest(&what, &named.tensor, digest, tolerance, relative);
                compared += 1;
            }
        }
        assert!(compared > 10, "only {compared} tensors were compared");
        if let Some(token) = &state.token {
            assert_close("token", token, &self.run["tokens"]["s"], tolerance);
        }
        let _guard = tch::no_grad_guard();
        let features = state.student.features(&images(500, kind), Mode::Evaluate);
        assert_close("logits", &state.student.head.forward(&features), &self.run["eval_logits"], tolerance);
    }
}

/// What [`State::auxiliary_loss`] computes, with the fixtures' mask instead of a drawn one.
fn auxiliary(
    state: &State,
    method: &Method,
    step: u64,
    images: &Tensor,
    features: &Tensor,
    logits: &Tensor,
) -> Option<Tensor> {
    let target = state.reference.as_ref().unwrap().logits(images);
    match method {
        Method::Ce => None,
        Method::Kd(kd) => Some(loss::pairwise(kd.loss, logits, &target)),
        Method::Mask(kd, masking) => {
            let permutation = permutation(200 + 10 * step, 4, 64);
            let mask = Mask::from_permutation(&permutation, removed_count(64, masking.ratio));
            let (head, token) = (&state.student.head, state.token.as_ref().unwrap());
            Some(loss::masked(kd.loss, masking.inverse, head, features, &target, &mask, token))
        }
    }
}

#[test]
fn three_steps_of_every_method_agree() {
    let fixture = load("resnet_c8_steps");
    let runs = fixture["runs"].as_array().unwrap().iter().map(|run| Run { fixture: &fixture, run });
    let in_scope: Vec<_> = runs.filter(Run::is_in_scope).collect();
    let names: Vec<_> = in_scope.iter().map(|run| run.run["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "ce",
            "ce_lr0.1",
            "kd_base",
            "kd_base_w7",
            "kd_l2",
            "kd_cs_softmax",
            "mskall_s_noinv_r0.5",
            "mskall_sgf_v1_r0.5",
            "mskall_sgf_v1_r0.5_ce2",
            "mskall_s_v2_r0.85",
        ]
    );
    for run in in_scope {
        run.compare(Kind::Double, Tolerances { losses: 1e-8, tensors: 1e-8, rankme: 1e-8 });
        run.compare(Kind::Float, Tolerances { losses: 2e-5, tensors: 1e-4, rankme: 1e-3 });
    }
}
