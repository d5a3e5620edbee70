//! Losses, masks and RankMe, with their gradients.

use serde_json::Value;
use sweep_worker::trainer::loss;
use sweep_worker::trainer::mask::{Mask, removed_count};
use sweep_worker::trainer::model::Linear;
use sweep_worker::trainer::rankme::rankme_of_unit_rows;
use tch::{Kind, Tensor};

use crate::fixtures::{
    assert_close, assert_sketch, cases, integers, kinds, leaf, load, permutation, tensor, uniform,
};
use crate::recipe::{aux_loss, inverse};

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

#[test]
fn masked_features_their_inverse_and_gradients_agree() {
    let fixture = load("masks");
    let shape = [7, 12];
    let scalar_modes = cases(&fixture).iter().filter(|case| case["mode"].as_str().unwrap().starts_with('s'));
    let mut compared = 0;
    for ((kind, tolerance), case) in
        scalar_modes.flat_map(|case| kinds(1e-9, 1e-5).into_iter().map(move |k| (k, case)))
    {
        let removed = removed_count(12, case["ratio"].as_f64().unwrap());
        assert_eq!(removed, case["removed"].as_i64().unwrap());
        let mask = Mask::from_permutation(&integers(&fixture["perm"]).view(shape), removed);
        let (x, token) = (leaf(&fixture["x"], &shape, kind), leaf(&fixture["tokens"]["s"], &[], kind));
        let (masked, inverse) = (mask.masked(&x, &token), mask.inverse(&x, &token));
        assert_close("masked", &masked, &case["masked"], tolerance);
        assert_close("inverse", &inverse, &case["inverse"], tolerance);

        let weights = |seed| uniform(seed, &shape, (-1.0, 1.0)).to_kind(kind);
        let sum = (masked * weights(22) + inverse * weights(23)).sum(kind);
        let [of_x, of_token] = gradients(&sum, [&x, &token]);
        assert_close("gradient of the features", &of_x, &case["grad_x"], tolerance);
        assert_close("gradient of the token", &of_token, &case["grad_tokens"]["s"], tolerance);
        compared += 1;
    }
    // Three spellings of modes at four ratios, in two kinds.
    assert_eq!(compared, 24);
}

/// What a case of masked losses is made of: x, W, b, target, permutation, and width of the features.
struct Masked<'a> {
    fixture: &'a Value,
    permutation: Tensor,
    shape: [i64; 3],
}

impl Masked<'_> {
    fn compare(&self, case: &Value, kind: Kind, tolerance: f64) {
        let (fixture, [n, d, c]) = (self.fixture, self.shape);
        let (x, target) =
            (leaf(&fixture["x"], &[n, d], kind), tensor(&fixture["teacher_logits"], &[n, c], kind));
        let weight = leaf(&fixture["W"], &[c, d], kind);
        let head = Linear { weight, bias: leaf(&fixture["b"], &[c], kind) };
        let is_trained = case["mode"] == "s";
        // The fixtures' constant tokens have the value of the trained ones.
        let token = tensor(&fixture["tokens"]["s"], &[], kind).set_requires_grad(is_trained);
        let mask =
            Mask::from_permutation(&self.permutation, removed_count(d, case["ratio"].as_f64().unwrap()));
        let loss = aux_loss(case["kind"].as_str().unwrap(), 2.0);
        let value = loss::masked(loss, inverse(&case["inv"]), &head, &x, &target, &mask, &token);

        let what = format!("{} {} {} in {kind:?}", case["mode"], case["inv"], case["kind"]);
        assert_close(&what, &value, &case["value"], tolerance);
        let mut of = vec![&x, &head.weight, &head.bias];
        of.extend(is_trained.then_some(&token));
        let gradients = Tensor::run_backward(&[&value], &of, false, false);
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
        if let Some(expected) = case.get("grad_token") {
            assert_close(&format!("{what}, token"), &gradients[3], expected, tolerance);
        }
    }
}

/// One mask with a scalar token, target not from the student's features.
fn is_in_scope(case: &&Value) -> bool {
    ["s", "sgf"].contains(&case["mode"].as_str().unwrap())
        && case["multi"] == 0
        && case.get("cls_only").is_none_or(Value::is_null)
}

#[test]
fn masked_losses_and_their_gradients_agree() {
    let fixture = load("masked_losses");
    let permutation = integers(&fixture["perms"][0]).view([7, 12]);
    let masked = Masked { fixture: &fixture, permutation, shape: [7, 12, 10] };
    let in_scope: Vec<_> = cases(&fixture).iter().filter(is_in_scope).collect();
    // Two modes, three inverses, five losses.
    assert_eq!(in_scope.len(), 30);
    for case in in_scope {
        for (kind, tolerance) in kinds(1e-9, 1e-5) {
            masked.compare(case, kind, tolerance);
        }
    }
}

#[test]
fn masked_losses_agree_at_the_size_of_the_study() {
    let fixture = load("masked_losses_large");
    let permutation = permutation(fixture["perm_seeds"][0].as_u64().unwrap(), 128, 320);
    let masked = Masked { fixture: &fixture, permutation, shape: [128, 320, 10] };
    let in_scope: Vec<_> = cases(&fixture).iter().filter(is_in_scope).collect();
    assert_eq!(in_scope.len(), 2);
    for case in in_scope {
        for (kind, tolerance) in kinds(1e-9, 1e-5) {
            masked.compare(case, kind, tolerance);
        }
    }
}

#[test]
fn objectives_of_the_head_and_their_gradients_agree() {
    let fixture = load("head_objectives");
    for (kind, tolerance) in kinds(1e-9, 1e-5) {
        for name in ["ce", "kd_base"] {
            let case = &fixture["cases"][name];
            let x = leaf(&fixture["x"], &[7, 12], kind);
            let weight = leaf(&fixture["W"], &[10, 12], kind);
            let head = Linear { weight, bias: leaf(&fixture["b"], &[10], kind) };
            let logits = head.forward(&x);
            let value = match name {
                "ce" => loss::ce(&logits, &integers(&fixture["labels"])),
                _ => loss::kd(&logits, &tensor(&fixture["teacher_logits"], &[7, 10], kind), 2.0),
            };
            assert_close(name, &value, &case["value"], tolerance);
            let gradients = gradients(&value, [&x, &head.weight, &head.bias]);
            for (gradient, field) in gradients.iter().zip(["grad_x", "grad_W", "grad_b"]) {
                assert_close(&format!("{name}, {field}"), gradient, &case[field], tolerance);
            }
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
