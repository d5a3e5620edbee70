//! Fixtures as tensors, and the comparison with them.

use std::path::Path;

use serde_json::Value;
use tch::{Kind, Tensor};

/// Both kinds of numbers, each with its tolerance.
pub(crate) fn kinds(float64: f64, float32: f64) -> [(Kind, f64); 2] {
    [(Kind::Double, float64), (Kind::Float, float32)]
}

pub(crate) fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn cases(fixture: &Value) -> &[Value] {
    fixture["cases"].as_array().unwrap()
}

/// `n` numbers of the linear congruential generator that the fixtures are made with, each in [0, 1).
pub(crate) fn lcg(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed as u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / 4_294_967_296.0
    };
    (0..n + 4).map(|_| next()).skip(4).collect()
}

pub(crate) fn uniform(seed: u64, shape: &[i64], (low, high): (f64, f64)) -> Tensor {
    let numbers: Vec<f64> =
        lcg(seed, shape.iter().product::<i64>() as usize).iter().map(|u| low + (high - low) * u).collect();
    Tensor::from_slice(&numbers).view(shape)
}

/// For each of `n` rows the order that sorts `d` numbers of the generator.
pub(crate) fn permutation(seed: u64, n: i64, d: i64) -> Tensor {
    uniform(seed, &[n, d], (0.0, 1.0)).argsort_stable(true, 1, false)
}

/// A tensor that a fixture gives as nested lists, or as the seed of a uniform one.
pub(crate) fn tensor(value: &Value, shape: &[i64], kind: Kind) -> Tensor {
    let tensor = match value.get("seed") {
        Some(seed) => {
            let bound = |name: &str, default| value.get(name).map_or(default, |v| v.as_f64().unwrap());
            uniform(seed.as_u64().unwrap(), shape, (bound("lo", -1.0), bound("hi", 1.0)))
        }
        None => Tensor::from_slice(&numbers(value)).view(shape),
    };
    tensor.to_kind(kind)
}

/// The same as a leaf that gathers a gradient.
pub(crate) fn leaf(value: &Value, shape: &[i64], kind: Kind) -> Tensor {
    tensor(value, shape, kind).set_requires_grad(true)
}

pub(crate) fn integers(value: &Value) -> Tensor {
    Tensor::from_slice(&numbers(value)).to_kind(Kind::Int64)
}

/// All numbers of nested lists in order.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap_or_else(|| panic!("`{number}` is no number"))],
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).contiguous().view([-1])).unwrap()
}

/// Every entry of `got` is within `tolerance` of `expected`.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &Tensor, expected: &Value, tolerance: f64) {
    let (got, expected) = (values(got), numbers(expected));
    assert_eq!(got.len(), expected.len(), "{what}: number of entries");
    for (k, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert!((got - expected).abs() <= tolerance, "{what}, entry {k}: {got} instead of {expected}");
    }
}

/// `got` against rows' sums, columns' sums, first row and norm.
#[track_caller]
pub(crate) fn assert_sketch(what: &str, got: &Tensor, sketch: &Value, tolerance: f64) {
    let got = got.to_kind(Kind::Double);
    let parts = [
        ("row_sum", got.sum_dim_intlist(1, false, Kind::Double)),
        ("col_sum", got.sum_dim_intlist(0, false, Kind::Double)),
        ("first_row", got.get(0)),
        ("l2", got.norm()),
    ];
    for (name, part) in parts {
        assert_close(&format!("{what}, {name}"), &part, &sketch[name], tolerance);
    }
}

/// `got` against a digest: all of a small tensor, sum, norm and 16 entries of a large one. The norm is compared
/// relatively where `relative` says so, and errors of entries may add up in the sum like those of a random walk.
#[track_caller]
pub(crate) fn assert_digest(what: &str, got: &Tensor, digest: &Value, tolerance: f64, relative: Option<f64>) {
    if digest.is_array() {
        return assert_close(what, got, digest, tolerance);
    }
    let got = got.detach().to_kind(Kind::Double).contiguous().view([-1]);
    let n = got.numel();
    let probe: Vec<i64> = (0..16).map(|k| (k * n / 16) as i64).collect();
    let l2 = digest["l2"].as_f64().unwrap();
    assert_close(
        &format!("{what}, probe"),
        &got.index_select(0, &Tensor::from_slice(&probe)),
        &digest["probe"],
        tolerance,
    );
    let norm_tolerance = relative.map_or(tolerance, |relative| relative * l2);
    assert_close(&format!("{what}, l2"), &got.norm(), &digest["l2"], norm_tolerance);
    let sum_tolerance = tolerance * (n as f64).sqrt();
    assert_close(&format!("{what}, sum"), &got.sum(Kind::Double), &digest["sum"], sum_tolerance);
}

#[test]
fn the_generator_of_the_fixtures_is_reproduced() {
    let fixture = load("lcg");
    assert_eq!(lcg(7, 8), numbers(&fixture["first"]));
    assert_eq!(lcg(0, 3), numbers(&fixture["seed0"]));
    assert_eq!(values(&permutation(9, 3, 6)), numbers(&fixture["permutation_seed9_3x6"]));
    let drawn = uniform(5, &[2, 3], (-2.0, 3.0));
    assert_close("uniform", &drawn, &fixture["uniform_seed5_lo_m2_hi_3"], 1e-15);
}
