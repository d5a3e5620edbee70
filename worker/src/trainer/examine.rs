//! Whether a device computes right, before it is trusted with hours of training: products and a convolution of small whole
//! numbers, whose results are exact whatever the order of the sums.

use sweep::protocol::trial::{Processor, Verdict};
use tch::{Cuda, Device, Kind, TchError, Tensor};

use super::error::TrainError;
use super::native::{Numerics, set_numerics};

/// Side of the matrices, and how many of them at a time: enough work for every part of a GPU.
const SIDE: usize = 256;
const BATCH: usize = 16;
/// Length of the sums in bfloat16, which has no room for larger whole numbers than 256.
const SHORT: usize = 24;
/// Images, channels in and out, and side of the convolution.
const IMAGES: usize = 4;
const CHANNELS: (usize, usize) = (8, 16);
const IMAGE_SIDE: usize = 16;
/// Some algorithms of convolution use fractions, so that their results are whole only nearly.
const NEARLY: f64 = 0.01;

/// Lets a device compute what is known.
#[must_use]
pub fn examine(processor: Processor) -> Verdict {
    let device = match processor {
        Processor::Cpu => Device::Cpu,
        Processor::Gpu if Cuda::device_count() > 0 => Device::Cuda(0),
        Processor::Gpu if tch::utils::has_cudart() => {
            let message = "libtorch can't use it, though it is built for GPUs".to_owned();
            return Verdict::Unsound { message };
        }
        Processor::Gpu => {
            let message = "this `sweep-trainer` is linked to a libtorch for CPUs only".to_owned();
            return Verdict::Untested { message };
        }
    };
    match compute(device) {
        Ok(()) => Verdict::Sound,
        Err(error) => Verdict::Unsound { message: error.to_string() },
    }
}

fn compute(device: Device) -> Result<(), TrainError> {
    set_numerics(Numerics { allows_tf32: false, is_deterministic: false });
    multiply(device, Kind::Float, SIDE)?;
    multiply(device, Kind::BFloat16, SHORT)?;
    convolve(device)
}

/// Matrices `[SIDE, inner]` times `[inner, SIDE]`, many times the same.
fn multiply(device: Device, kind: Kind, inner: usize) -> Result<(), TrainError> {
    let (one, other) = (numbers(SIDE * inner, 1), numbers(inner * SIDE, 2));
    let matrix = |numbers: &[i32], sides: [usize; 2]| -> Result<Tensor, TchError> {
        let batch = [BATCH, sides[0], sides[1]].map(|side| side as i64);
        tensor(numbers, &sides, kind, device)?.f_expand(batch, false)?.f_contiguous()
    };
    let found = matrix(&one, [SIDE, inner])?.f_matmul(&matrix(&other, [inner, SIDE])?)?; // [BATCH, SIDE, SIDE]
    compare(&format!("a product of matrices in {kind:?}"), &found, &product(&one, &other, inner), 0.0)
}

/// A convolution of 3×3 with a border of zeros.
fn convolve(device: Device) -> Result<(), TrainError> {
    let (channels, filters) = CHANNELS;
    let images = numbers(IMAGES * channels * IMAGE_SIDE * IMAGE_SIDE, 3);
    let weights = numbers(filters * channels * 9, 4);
    let images_there = tensor(&images, &[IMAGES, channels, IMAGE_SIDE, IMAGE_SIDE], Kind::Float, device)?;
    let weights_there = tensor(&weights, &[filters, channels, 3, 3], Kind::Float, device)?;
    let found = images_there.f_conv2d(&weights_there, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1)?;
    compare("a convolution", &found, &convolution(&images, &weights), NEARLY)
}

/// Whole numbers from -3 to 3 in no order.
fn numbers(count: usize, stream: usize) -> Vec<i32> {
    (0..count).map(|place| (place * 5 + place / 7 + place / 61 * stream) % 7).map(|n| n as i32 - 3).collect()
}

fn tensor(numbers: &[i32], sides: &[usize], kind: Kind, device: Device) -> Result<Tensor, TchError> {
    let sides: Vec<i64> = sides.iter().map(|&side| side as i64).collect();
    Tensor::f_from_slice(numbers)?.f_reshape(&sides)?.f_to_device(device)?.f_to_kind(kind)
}

/// The same in whole numbers.
fn product(one: &[i32], other: &[i32], inner: usize) -> Vec<i32> {
    let mut result = vec![0; SIDE * SIDE];
    for (row, factors) in result.chunks_mut(SIDE).zip(one.chunks(inner)) {
        for (factor, line) in factors.iter().zip(other.chunks(SIDE)) {
            row.iter_mut().zip(line).for_each(|(sum, number)| *sum += factor * number);
        }
    }
    result
}

/// The same in whole numbers.
fn convolution(images: &[i32], weights: &[i32]) -> Vec<i32> {
    let (channels, filters) = CHANNELS;
    let side = IMAGE_SIDE;
    let pixel = |image: usize, channel: usize, y: usize, x: usize| {
        // Coordinates count from the border.
        let is_inside = (1..=side).contains(&y) && (1..=side).contains(&x);
        if is_inside { images[((image * channels + channel) * side + y - 1) * side + x - 1] } else { 0 }
    };
    let mut result = Vec::with_capacity(IMAGES * filters * side * side);
    for image in 0..IMAGES {
        for filter in weights.chunks(channels * 9) {
            for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
                let terms = filter.iter().enumerate();
                let terms = terms.map(|(at, w)| w * pixel(image, at / 9, y + at % 9 / 3, x + at % 3));
                result.push(terms.sum());
            }
        }
    }
    result
}

/// `found` holds `expected` once or several times.
fn compare(what: &str, found: &Tensor, expected: &[i32], tolerance: f64) -> Result<(), TrainError> {
    let found = found.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_reshape([-1])?;
    let found = Vec::<f64>::try_from(found)?;
    let differs = |(found, expected): &(&f64, &i32)| {
        let difference = (*found - f64::from(**expected)).abs();
        // What is no number differs too.
        difference.is_nan() || difference > tolerance
    };
    match found.iter().zip(expected.iter().cycle()).find(differs) {
        Some((found, expected)) => {
            Err(TrainError::Miscalculated { what: what.to_owned(), found: *found, expected: *expected })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_device_passes() {
        assert_eq!(examine(Processor::Cpu), Verdict::Sound);
    }

    #[test]
    fn whole_numbers_are_multiplied_and_convolved_as_by_hand() {
        // Row 0 and column 0 of the product of the first stream and the second.
        let (one, other) = (numbers(SIDE * SHORT, 1), numbers(SHORT * SIDE, 2));
        let by_hand: i32 = (0..SHORT).map(|at| one[at] * other[at * SIDE]).sum();
        assert_eq!(product(&one, &other, SHORT)[0], by_hand);
        assert!(product(&one, &other, SHORT).iter().all(|number| number.abs() <= 256), "bfloat16 is exact");
        // A filter that takes the pixel to the right of the last channel.
        let images = numbers(IMAGES * CHANNELS.0 * IMAGE_SIDE * IMAGE_SIDE, 3);
        let mut weights = vec![0; CHANNELS.0 * 9 * CHANNELS.1];
        weights[(CHANNELS.0 - 1) * 9 + 5] = 1;
        let found = convolution(&images, &weights);
        let last_channel = (CHANNELS.0 - 1) * IMAGE_SIDE * IMAGE_SIDE;
        assert_eq!(found[0], images[last_channel + 1]);
        assert_eq!(found[IMAGE_SIDE - 1], 0, "beyond the border");
    }

    #[test]
    fn one_wrong_number_among_all_is_found() {
        let expected = [1, 2, 3, 4];
        let right = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        compare("it", &right, &expected, 0.0).unwrap();
        for wrong in [4.0 + 1e-6, f64::NAN, -4.0] {
            let found = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, wrong]);
            assert!(compare("it", &found, &expected, 0.0).is_err(), "{wrong}");
        }
        let nearly = Tensor::from_slice(&[1.001, 2.0, 3.0, 3.999]);
        compare("it", &nearly, &expected, NEARLY).unwrap();
        let error = compare("it", &(nearly + 1), &expected, NEARLY).unwrap_err();
        assert!(error.to_string().starts_with("it came out wrong: 2.001 where 1 is right"), "{error}");
    }
}
