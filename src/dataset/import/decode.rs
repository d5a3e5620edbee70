//! Decodes images to planes of 8 bits, and refuses truncated ones, which the decoders fill up with grey.
//!
//! JPEG has no checksum: bytes that changed between whole marks give other pixels, and nobody can tell.

use std::io::Cursor;
use std::panic;
use std::thread;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder, ImageResult};

use super::super::split::CHANNELS;
use super::error::{ImportError, Problem};
use super::source::{ClassFolders, ImageFile};
use super::{MAX_SPLIT_BYTES, image_bytes};

/// Longest side of an image in pixels: datasets of larger ones are not what this trainer is for.
const MAX_SIDE: usize = 1024;

const JPEG_MAGIC: &[u8] = &[0xff, 0xd8, 0xff];
const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The last chunk of every PNG, with its length and checksum.
const PNG_END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// The size that all images must have, and the image that says so.
pub(super) struct ReferenceSize {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) of: String,
}

/// One decoded image: `[height, width, 3]`.
struct Pixels {
    height: usize,
    width: usize,
    rgb: Vec<u8>,
}

/// The size of the first image, which is the reference for all others.
pub(super) fn size_of_first(folders: &ClassFolders) -> Result<ReferenceSize, ImportError> {
    let Some(first) = folders.images.first() else {
        return Err(ImportError::input(&folders.source, Problem::NoImages));
    };
    let pixels = decode(&first.bytes).map_err(|problem| ImportError::input(&first.place, problem))?;
    Ok(ReferenceSize { height: pixels.height, width: pixels.width, of: first.place.clone() })
}

/// All images as `[N, 3, H, W]`, decoded on all cores. The error is that of the first bad image, whichever thread met
/// it.
pub(super) fn all(folders: &ClassFolders, size: &ReferenceSize) -> Result<Vec<u8>, ImportError> {
    let files = &folders.images;
    let Some(bytes) = image_bytes(files.len(), size.height, size.width) else {
        return Err(ImportError::input(&folders.source, Problem::TooLarge { limit: MAX_SPLIT_BYTES }));
    };
    let mut planes = vec![0; bytes];
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let files_each = files.len().div_ceil(threads).max(1);
    let bytes_each = files_each * CHANNELS * size.height * size.width;
    thread::scope(|scope| {
        let parts = files.chunks(files_each).zip(planes.chunks_mut(bytes_each));
        let threads: Vec<_> =
            parts.map(|(files, planes)| scope.spawn(move || decode_part(files, planes, size))).collect();
        threads
            .into_iter()
            .try_for_each(|part| part.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
    })?;
    Ok(planes)
}

fn decode_part(files: &[ImageFile], planes: &mut [u8], size: &ReferenceSize) -> Result<(), ImportError> {
    for (file, planes) in files.iter().zip(planes.chunks_mut(CHANNELS * size.height * size.width)) {
        let refused = |problem| ImportError::input(&file.place, problem);
        let pixels = decode(&file.bytes).map_err(refused)?;
        let (width, height) = (pixels.width, pixels.height);
        if (width, height) != (size.width, size.height) {
            let (other, other_width, other_height) = (size.of.clone(), size.width, size.height);
            return Err(refused(Problem::OtherSize { width, height, other, other_width, other_height }));
        }
        to_planes(&pixels.rgb, planes);
    }
    Ok(())
}

/// `[H, W, 3]` to `[3, H, W]`.
pub(super) fn to_planes(rgb: &[u8], planes: &mut [u8]) {
    let (pixels, _) = rgb.as_chunks::<CHANNELS>();
    for (channel, plane) in planes.chunks_mut(pixels.len()).enumerate() {
        for (out, pixel) in plane.iter_mut().zip(pixels) {
            *out = pixel[channel];
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Pixels, Problem> {
    let input = Cursor::new(bytes);
    if bytes.starts_with(JPEG_MAGIC) {
        // The decoder fills what is missing with grey.
        if !has_jpeg_end(bytes) {
            return Err(Problem::TruncatedImage);
        }
        to_pixels(JpegDecoder::new(input))
    } else if bytes.starts_with(PNG_MAGIC) {
        // The decoder is content when it has all pixels, whatever is missing behind them.
        if !bytes.windows(PNG_END.len()).rev().any(|end| end == PNG_END) {
            return Err(Problem::TruncatedImage);
        }
        to_pixels(PngDecoder::new(input))
    } else {
        Err(Problem::NotAnImage)
    }
}

fn to_pixels(decoder: ImageResult<impl ImageDecoder>) -> Result<Pixels, Problem> {
    let decoder = decoder.map_err(Problem::Undecodable)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    if width.max(height) > MAX_SIDE {
        return Err(Problem::ImageTooLarge { width, height, limit: MAX_SIDE });
    }
    let image = DynamicImage::from_decoder(decoder).map_err(Problem::Undecodable)?;
    let is_opaque = match &image {
        DynamicImage::ImageLuma8(_) | DynamicImage::ImageRgb8(_) => true,
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().all(|pixel| pixel.0[1] == u8::MAX),
        DynamicImage::ImageRgba8(pixels) => pixels.pixels().all(|pixel| pixel.0[3] == u8::MAX),
        other => return Err(Problem::PixelFormat(format!("pixels of type {:?}", other.color()))),
    };
    if !is_opaque {
        return Err(Problem::PixelFormat("transparent pixels".to_owned()));
    }
    Ok(Pixels { height, width, rgb: image.into_rgb8().into_raw() })
}

/// Whether a JPEG has its end mark (EOI). The mark of a thumbnail inside a header does not count: headers are skipped
/// by their length, and in the image data `0xff` is either doubled by a zero or begins a mark.
fn has_jpeg_end(bytes: &[u8]) -> bool {
    let mut rest = &bytes[2.min(bytes.len())..];
    while let [first, after @ ..] = rest {
        let ([mark, body @ ..], 0xff) = (after, first) else {
            rest = after; // Image data: on to the next 0xff.
            continue;
        };
        rest = match mark {
            0xd9 => return true,
            // A fill byte, a zero that is no mark, or a restart mark: none has a length.
            0xff => after,
            0x00 | 0x01 | 0xd0..=0xd7 => body,
            _ => match body {
                [high, low, ..] => {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    body.get(length..).unwrap_or_default()
                }
                _ => return false,
            },
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, RgbImage};

    use super::*;

    const JPEG: &[u8] = include_bytes!("../../../tests/data/cat.jpg");

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn pattern() -> RgbImage {
        RgbImage::from_fn(8, 4, |x, y| image::Rgb([x as u8 * 30, y as u8 * 60, 7]))
    }

    #[test]
    fn a_jpeg_that_lacks_any_of_its_last_bytes_is_refused() {
        assert_eq!(decode(JPEG).unwrap().rgb.len(), 32 * 32 * 3);
        for length in 3..JPEG.len() {
            assert!(decode(&JPEG[..length]).is_err(), "accepted with {length} of {} bytes", JPEG.len());
        }
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
        let header_with_end = [0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd9, 0, 0];
        assert!(!has_jpeg_end(&header_with_end));
        assert!(has_jpeg_end(&[&header_with_end[..], &[0xff, 0xda, 0, 2, 1, 0xff, 0, 0xff, 0xd9]].concat()));
    }

    #[test]
    fn bytes_after_the_end_of_a_jpeg_do_no_harm() {
        assert_eq!(decode(&[JPEG, b"padding"].concat()).unwrap().rgb, decode(JPEG).unwrap().rgb);
    }

    #[test]
    fn a_png_that_lacks_any_of_its_last_bytes_is_refused() {
        let bytes = png(pattern());
        assert_eq!(decode(&bytes).unwrap().rgb, pattern().into_raw());
        for length in 8..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "accepted with {length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn grey_becomes_three_equal_channels() {
        let pixels = decode(&png(image::GrayImage::from_pixel(2, 1, image::Luma([9])))).unwrap();
        assert_eq!((pixels.width, pixels.height, pixels.rgb), (2, 1, vec![9; 6]));
    }

    #[test]
    fn opaque_pixels_may_have_an_alpha_channel_and_transparent_ones_are_refused() {
        let with_alpha =
            |alpha| decode(&png(image::RgbaImage::from_pixel(1, 1, image::Rgba([1, 2, 3, alpha]))));
        assert_eq!(with_alpha(255).unwrap().rgb, [1, 2, 3]);
        assert!(matches!(with_alpha(254), Err(Problem::PixelFormat(_))));
    }

    #[test]
    fn sixteen_bits_and_large_sides_are_refused() {
        let deep = DynamicImage::ImageLuma16(image::ImageBuffer::from_pixel(1, 1, image::Luma([9])));
        assert!(matches!(decode(&png(deep)), Err(Problem::PixelFormat(_))));
        let wide = decode(&png(RgbImage::new(1025, 1)));
        assert!(matches!(wide, Err(Problem::ImageTooLarge { width: 1025, height: 1, limit: 1024 })));
    }

    #[test]
    fn pixels_become_planes() {
        let mut planes = [0; 6];
        to_planes(&[1, 2, 3, 4, 5, 6], &mut planes);
        assert_eq!(planes, [1, 4, 2, 5, 3, 6]);
    }
}
