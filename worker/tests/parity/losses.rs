//! Losses, masks and RankMe, with their gradients.

use serde_json::Value;
use sweep::recipe::TeacherScope;
use sweep_worker::trainer::head::{Head, HeadMode};
use sweep_worker::trainer::loss;
use sweep_worker::trainer::mask::{Mask, Token, removed_count};
use sweep_worker::trainer::random::Step;
use sweep_worker::trainer::rankme::rankme_of_unit_rows;
use sweep_worker::trainer::reference::Reference;
use tch::{Kind, Tensor};

use crate::fixtures::{
    assert_close, assert_sketch, cases, integers, kinds, leaf, load, numbers, permutation, tensor, uniform,
};
use crate::recipe::{aux_loss, inverse, scope};

/// Linear heads drop nothing, so that the step does not matter.
const AT: Step = Step { seed: 0, epoch: 1, step: 0 };

fn gradients<const N: usize>(value: &Tensor, of: [&Tensor; N]) -> [Tensor; N] {
    Tensor::run_backward(&[value], &of, false, false).try_into().unwrap()
}

#[test]
fn pairwise_losses_and_their_gradients_agree() {
    let fixture = load("pairwise_losses");
    for ((kind, tolerance), case) in
        kinds(1e-9, 1e-5).into_iter().flat_map(|k| cases(&fixture).iter().map(move |case| (k, case)))
    {
        let shape = [case["n"].as_i64().unwrap(), fixture["C"].as_i64().unwrap()];
        let (s, t) = (leaf(&fixture["s"], &shape, kind), leaf(&fixture["t"], &shape, kind));
        let temperature = case.get("T").map_or(2.0, |t| t.as_f64().unwrap());
        let name = case["kind"].as_str().unwrap();
        let value = loss::pairwise(aux_loss(name, temperature), &s, &t);
        let what = format!("{name} of {shape:?} at T = {temperature} in {kind:?}");
        assert_close(&what, &value, &case["value"], tolerance);
        for (gradient, field) in gradients(&value, [&s, &t]).iter().zip(["grad_s", "grad_t"]) {
            let what = format!("{what}, {field}");
            match case.get(field) {
                Some(sketch) if sketch.is_object() => assert_sketch(&what, gradient, sketch, tolerance),
                Some(full) => assert_close(&what, gradient, full, tolerance),
                None => {}
            }
        }
    }
}

/// The tokens of a fixture for masks that remove `removed` of `width` channels; its constant tokens have the values of the
/// trained ones.
fn token(fixture: &Value, mode: &str, [removed, width]: [i64; 2], kind: Kind) -> Token {
    let tokens = &fixture["tokens"];
    let vector = |seed: &str, length| {
        uniform(tokens[seed].as_u64().unwrap(), &[length], (-1.0, 1.0)).to_kind(kind).set_requires_grad(true)
    };
    if mode.starts_with('s') {
        return Token::Scalar(leaf(&tokens["s"], &[], kind));
    }
    Token::Vector { removed: vector("seed_a", removed), kept: vector("seed_a_inv", width - removed) }
}

#[test]
fn masked_features_their_inverse_and_gradients_agree() {
    let fixture = load("masks");
    let shape = [7, 12];
    let mut compared = 0;
    for ((kind, tolerance), case) in
        cases(&fixture).iter().flat_map(|case| kinds(1e-9, 1e-5).into_iter().map(move |k| (k, case)))
    {
        let removed = removed_count(12, case["ratio"].as_f64().unwrap());
        assert_eq!(removed, case["removed"].as_i64().unwrap());
        let mask = Mask::from_permutation(&integers(&fixture["perm"]).view(shape), removed);
        let mode = case["mode"].as_str().unwrap();
        let (x, token) = (leaf(&fixture["x"], &shape, kind), token(&fixture, mode, [removed, 12], kind));
        let (masked, inverse) = (mask.masked(&x, &token), mask.inverse(&x, &token));
        let what = |part: &str| format!("{part} of {mode} at {} in {kind:?}", case["ratio"]);
        assert_close(&what("masked"), &masked, &case["masked"], tolerance);
        assert_close(&what("inverse"), &inverse, &case["inverse"], tolerance);

        let weights = |seed| uniform(seed, &shape, (-1.0, 1.0)).to_kind(kind);
        let sum = (masked * weights(22) + inverse * weights(23)).sum(kind);
        let tokens = token.tensors();
        let of: Vec<&Tensor> = std::iter::once(&x).chain(tokens.iter().map(|(_, tensor)| *tensor)).collect();
        let gradients = Tensor::run_backward(&[&sum], &of, false, false);
        assert_close(&what("gradient of the features"), &gradients[0], &case["grad_x"], tolerance);
        let names: &[&str] = if mode.starts_with('s') { &["s"] } else { &["a", "a_inv"] };
        for (gradient, name) in gradients[1..].iter().zip(names) {
            assert_close(&what(name), gradient, &case["grad_tokens"][name], tolerance);
        }
        compared += 1;
    }
    // Six spellings of modes at four ratios, in two kinds.
    assert_eq!(compared, 48);
}

#[test]
fn dropped_features_agree() {
    let fixture = load("masks");
    let dropout = &fixture["dropout"];
    let seed = dropout["u_seed"].as_u64().unwrap();
    for case in dropout["cases"].as_array().unwrap() {
        for (kind, tolerance) in kinds(1e-9, 1e-5) {
            let ratio = case["ratio"].as_f64().unwrap();
            let removed = uniform(seed, &[7, 12], (0.0, 1.0)).lt(ratio);
            let x = tensor(&fixture["x"], &[7, 12], kind);
            let masked = Mask::dropout(removed, ratio).masked(&x, &Token::Scalar(Tensor::from(0.0)));
            assert_close("dropped", &masked, &case["masked"], tolerance);
        }
    }
}

/// What a case of masked losses is made of: x, W, b, targets, permutations, and widths.
struct Masked<'a> {
    fixture: &'a Value,
    permutations: Vec<Tensor>,
    shape: [i64; 3],
}

impl Masked<'_> {
    fn compare(&self, case: &Value, kind: Kind, tolerance: f64) {
        let (fixture, [n, d, c]) = (self.fixture, self.shape);
        let (x, given) =
            (leaf(&fixture["x"], &[n, d], kind), tensor(&fixture["teacher_logits"], &[n, c], kind));
        let (weight, bias) = (leaf(&fixture["W"], &[c, d], kind), leaf(&fixture["b"], &[c], kind));
        let head = Head::linear(weight.shallow_clone(), bias.shallow_clone());
        let cls_only = case.get("cls_only").unwrap_or(&Value::Null);
        let target = match cls_only {
            Value::Null => given,
            _ => self.head_of_the_teacher(cls_only, kind).logits(&x, &x, AT),
        };
        let mode = case["mode"].as_str().unwrap();
        let removed = removed_count(d, case["ratio"].as_f64().unwrap());
        let token = token(fixture, mode, [removed, d], kind);
        let count = case["multi"].as_u64().unwrap().max(1) as usize;
        let masks: Vec<Mask> = self.permutations[..count]
            .iter()
            .map(|permutation| Mask::from_permutation(permutation, removed))
            .collect();
        let loss = aux_loss(case["kind"].as_str().unwrap(), 2.0);
        let of_head = |x: &Tensor, _| head.forward(x, HeadMode::Evaluate);
        let value = loss::masked(loss, inverse(&case["inv"]), &of_head, &x, &target, &masks, &token);

        let what =
            format!("{mode} {} {} {cls_only} {} in {kind:?}", case["inv"], case["kind"], case["multi"]);
        assert_close(&what, &value, &case["value"], tolerance);
        let of = [&x, &weight, &bias, token.tensors()[0].1];
        let gradients = gradients(&value, of);
        match case["grad_x"].is_object() {
            true => {
                assert_sketch(&format!("{what}, x"), &gradients[0], &case["grad_x"], tolerance);
                assert_sketch(&format!("{what}, W"), &gradients[1], &case["grad_W"], tolerance);
            }
            false => {
                assert_close(&format!("{what}, x"), &gradients[0], &case["grad_x"], tolerance);
                let rows = gradients[1].sum_dim_intlist(0, false, kind);
                assert_close(&format!("{what}, W"), &rows, &case["grad_W_sum_rows"], tolerance);
            }
        }
        assert_close(&format!("{what}, b"), &gradients[2], &case["grad_b"], tolerance);
        if let Some(expected) = case.get("grad_token").filter(|expected| !expected.is_null()) {
            assert_close(&format!("{what}, token"), &gradients[3], expected, tolerance);
        }
    }

    fn head_of_the_teacher(&self, cls_only: &Value, kind: Kind) -> Reference {
        let [_, d, c] = self.shape;
        let weight = tensor(&self.fixture["teacher_W"], &[c, d], kind);
        let head = Head::linear(weight, tensor(&self.fixture["teacher_b"], &[c], kind));
        let TeacherScope::Head(gradient) = scope(cls_only, "running") else { panic!("not the head alone") };
        Reference::Head { head, gradient }
    }
}

#[test]
fn masked_losses_and_their_gradients_agree() {
    let fixture = load("masked_losses");
    let permutations = fixture["perms"].as_array().unwrap();
    let permutations = permutations.iter().map(|permutation| integers(permutation).view([7, 12])).collect();
    let masked = Masked { fixture: &fixture, permutations, shape: [7, 12, 10] };
    assert_eq!(cases(&fixture).len(), 120);
    for case in cases(&fixture) {
        for (kind, tolerance) in kinds(1e-9, 1e-5) {
            masked.compare(case, kind, tolerance);
        }
    }
}

#[test]
fn masked_losses_agree_at_the_size_of_the_study() {
    let fixture = load("masked_losses_large");
    let seeds = numbers(&fixture["perm_seeds"]);
    let permutations = seeds.iter().map(|&seed| permutation(seed as u64, 128, 320)).collect();
    let masked = Masked { fixture: &fixture, permutations, shape: [128, 320, 10] };
    assert_eq!(cases(&fixture).len(), 5);
    for case in cases(&fixture) {
        for (kind, tolerance) in kinds(1e-9, 1e-5) {
            masked.compare(case, kind, tolerance);
        }
    }
}

#[test]
fn objectives_of_the_head_and_their_gradients_agree() {
    let fixture = load("head_objectives");
    for ((kind, tolerance), (name, case)) in kinds(1e-9, 1e-5)
        .into_iter()
        .flat_map(|k| fixture["cases"].as_object().unwrap().iter().map(move |case| (k, case)))
    {
        let x = leaf(&fixture["x"], &[7, 12], kind);
        let [weight, probe_weight] = ["W", "probe_W"].map(|name| leaf(&fixture[name], &[10, 12], kind));
        let [bias, probe_bias] = ["b", "probe_b"].map(|name| leaf(&fixture[name], &[10], kind));
        let logits =
            Head::linear(weight.shallow_clone(), bias.shallow_clone()).forward(&x, HeadMode::Evaluate);
        let masked = Masked { fixture: &fixture, permutations: Vec::new(), shape: [7, 12, 10] };
        let of_head = |kind_of_target: &str| {
            masked.head_of_the_teacher(&kind_of_target.into(), kind).logits(&x, &x, AT)
        };
        let labels = integers(&fixture["labels"]);
        let value = match name.as_str() {
            "ce" => loss::ce(&logits, &labels),
            "kd_base" => loss::kd(&logits, &tensor(&fixture["teacher_logits"], &[7, 10], kind), 2.0),
            "kd_clsonly_in_graph" => loss::kd(&logits, &of_head("in_graph"), 2.0),
            "kd_clsonly_detached" => loss::kd(&logits, &of_head("detached"), 2.0),
            "linear_probe" => {
                let probe = Head::linear(probe_weight.shallow_clone(), probe_bias.shallow_clone());
                loss::ce(&probe.forward(&x.detach(), HeadMode::Evaluate), &labels)
            }
            other => panic!("`{other}` is no objective"),
        };
        assert_close(name, &value, &case["value"], tolerance);
        let of = [
            (&x, "grad_x"),
            (&weight, "grad_W"),
            (&bias, "grad_b"),
            (&probe_weight, "grad_probe_W"),
            (&probe_bias, "grad_probe_b"),
        ];
        let (of, fields): (Vec<_>, Vec<_>) =
            of.into_iter().filter(|(_, field)| !case[*field].is_null()).unzip();
        assert!(of.len() >= 2, "{name}");
        for (gradient, field) in Tensor::run_backward(&[&value], &of, false, false).iter().zip(fields) {
            assert_close(&format!("{name}, {field}"), gradient, &case[field], tolerance);
        }
    }
}

#[test]
fn rankme_of_unit_rows_agrees() {
    for case in cases(&load("rankme")) {
        let matrix = match case["name"].as_str().unwrap() {
            "signed_7x12" => uniform(81, &[7, 12], (-1.0, 1.0)),
            "positive_128x320" => uniform(82, &[128, 320], (0.0, 1.0)),
            "tall_500x64" => uniform(83, &[500, 64], (-1.0, 1.0)),
            "rank8_600x320" => {
                uniform(84, &[600, 8], (-1.0, 1.0)).matmul(&uniform(85, &[8, 320], (-1.0, 1.0)))
            }
            "sparse_128x320" => uniform(86, &[128, 320], (-1.0, 1.0)).relu(),
            other => panic!("`{other}` is unknown"),
        };
        for (kind, tolerance) in kinds(1e-8, 1e-3) {
            let rank = rankme_of_unit_rows(&matrix.to_kind(kind)).unwrap();
            assert_close(&case["name"].to_string(), &Tensor::from(rank), &case["rankme"], tolerance);
        }
    }
}
