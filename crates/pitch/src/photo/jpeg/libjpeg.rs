//! The one place that talks to libjpeg (mozjpeg's branch of libjpeg-turbo; the decoder is libjpeg-turbo's own).
//!
//! libjpeg reports errors through a callback that must not return. Here it unwinds, through C frames that were compiled
//! for that (`mozjpeg-sys` feature `unwinding`), up to [`JpegReader::guarded`]; no panic is raised and no hook runs.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::raw::{c_int, c_long, c_ulong};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use mozjpeg_sys as sys;
use mozjpeg_sys::J_COLOR_SPACE;

use super::super::error::PhotoError;
use super::super::limits::Deadline;

#[cfg(panic = "abort")]
compile_error!("libjpeg's errors unwind: build with panic = \"unwind\"");

/// More scans than any encoder writes (libjpeg's own script has 10, the search of mozjpeg tries 64): each scan visits
/// every coefficient, so that a small file with thousands of them would keep a core busy for minutes.
const MAX_SCANS: c_int = 100;

/// What the decoder hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Samples {
    /// Three samples a pixel.
    Rgb,
    /// Four, as stored: Adobe writes them inverted.
    Cmyk,
}

impl Samples {
    pub(super) const fn per_pixel(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Cmyk => 4,
        }
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JpegHeader {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: usize,
    pub(super) samples: Samples,
    /// Several scans: every coefficient is in memory before the first row comes out.
    pub(super) multiple_scans: bool,
    /// Bytes of those coefficients, whether they are kept or not.
    pub(super) coefficient_bytes: u64,
    /// Grey, or three components of which only the first may be sampled more densely: what cameras write.
    pub(super) plain_sampling: bool,
    /// Width in pixels of a column of MCUs.
    pub(super) mcu_width: usize,
}

/// One decoding run over the bytes of a JPEG.
pub(super) struct JpegReader<'a> {
    cinfo: Box<sys::jpeg_decompress_struct>,
    /// Owned; a raw pointer because libjpeg holds pointers into it between calls.
    hooks: *mut Hooks,
    bytes: PhantomData<&'a [u8]>,
}

/// What the callbacks need.
struct Hooks {
    error: sys::jpeg_error_mgr,
    progress: sys::jpeg_progress_mgr,
    deadline: Deadline,
    failure: Option<PhotoError>,
}

/// The payload of the unwinding; what failed is in [`Hooks::failure`].
struct Unwound;

impl<'a> JpegReader<'a> {
    /// Reads everything up to the first scan. Allocates a few kilobytes.
    pub(super) fn new(bytes: &'a [u8], deadline: Deadline, max_memory: u64) -> Result<Self, PhotoError> {
        let len = c_ulong::try_from(bytes.len()).map_err(|_| PhotoError::OutOfMemory)?;
        #[expect(unsafe_code, reason = "libjpeg's structures start as zeros")]
        // SAFETY: both are plain C structures of integers, enums with a variant 0, raw pointers and optional function
        // pointers, for all of which zeros are a valid value.
        let (cinfo, error) = unsafe {
            (
                Box::new(MaybeUninit::<sys::jpeg_decompress_struct>::zeroed().assume_init()),
                MaybeUninit::<sys::jpeg_error_mgr>::zeroed().assume_init(),
            )
        };
        let hooks = Box::into_raw(Box::new(Hooks {
            error,
            progress: sys::jpeg_progress_mgr {
                progress_monitor: Some(watch),
                pass_counter: 0,
                pass_limit: 0,
                completed_passes: 0,
                total_passes: 0,
            },
            deadline,
            failure: None,
        }));
        let mut reader = Self {
            cinfo,
            hooks,
            bytes: PhantomData,
        };
        reader.guarded(|cinfo| {
            #[expect(unsafe_code, reason = "setting up libjpeg")]
            // SAFETY: `hooks` comes from `Box::into_raw` above and outlives `cinfo` (see `drop`), as do `bytes` by the
            // lifetime of the reader; no Rust reference into `hooks` exists while libjpeg uses it.
            // `jpeg_CreateDecompress` keeps `err` and `client_data` and clears the rest, so what follows is set after it.
            unsafe {
                cinfo.common.err = sys::jpeg_std_error(&mut (*hooks).error);
                (*hooks).error.error_exit = Some(fail);
                (*hooks).error.emit_message = Some(judge);
                cinfo.common.client_data = hooks.cast();
                sys::jpeg_create_decompress(cinfo);
                cinfo.common.progress = &raw mut (*hooks).progress;
                if let Some(memory) = cinfo.common.mem.as_mut() {
                    memory.max_memory_to_use = c_long::try_from(max_memory).unwrap_or(c_long::MAX);
                }
                sys::jpeg_mem_src(cinfo, bytes.as_ptr(), len);
                sys::jpeg_read_header(cinfo, 1);
            }
        })?;
        Ok(reader)
    }

    /// What the header says.
    pub(super) fn header(&self) -> Result<JpegHeader, PhotoError> {
        let cinfo = &self.cinfo;
        let count = usize::try_from(cinfo.num_components).unwrap_or(0);
        let samples = match (cinfo.jpeg_color_space, count) {
            (J_COLOR_SPACE::JCS_GRAYSCALE, 1) | (J_COLOR_SPACE::JCS_RGB | J_COLOR_SPACE::JCS_YCbCr, 3) => {
                Samples::Rgb
            }
            (J_COLOR_SPACE::JCS_CMYK | J_COLOR_SPACE::JCS_YCCK, 4) => Samples::Cmyk,
            _ => return Err(PhotoError::unsupported(format!("a JPEG of {count} components"))),
        };
        if cinfo.comp_info.is_null() {
            return Err(PhotoError::corrupt("no components"));
        }
        #[expect(unsafe_code, reason = "libjpeg's array of components")]
        // SAFETY: after `jpeg_read_header`, `comp_info` points to `num_components` initialised elements that live until
        // the decompressor is destroyed, and nothing writes to them while this slice does.
        let components = unsafe { std::slice::from_raw_parts(cinfo.comp_info, count) };
        let (max_h, max_v) = (
            cinfo.max_h_samp_factor.max(1).unsigned_abs(),
            cinfo.max_v_samp_factor.max(1).unsigned_abs(),
        );
        // Blocks are counted in whole MCUs, since libjpeg pads its arrays to them.
        let mcus = u64::from(cinfo.image_width.div_ceil(8 * max_h))
            * u64::from(cinfo.image_height.div_ceil(8 * max_v));
        let blocks_per_mcu: u64 = components
            .iter()
            .map(|c| u64::from(c.h_samp_factor.unsigned_abs()) * u64::from(c.v_samp_factor.unsigned_abs()))
            .sum();
        #[expect(unsafe_code, reason = "a predicate of libjpeg")]
        // SAFETY: reads fields of a decompressor whose header was read.
        let multiple_scans = unsafe { sys::jpeg_has_multiple_scans(cinfo) } != 0;
        let plain_sampling = match components {
            [_] => true,
            [first, others @ ..] => {
                matches!(first.h_samp_factor, 1 | 2)
                    && matches!(first.v_samp_factor, 1 | 2)
                    && others
                        .iter()
                        .all(|c| (c.h_samp_factor, c.v_samp_factor) == (1, 1))
            }
            [] => false,
        };
        Ok(JpegHeader {
            width: cinfo.image_width as usize,
            height: cinfo.image_height as usize,
            components: count,
            samples,
            multiple_scans,
            coefficient_bytes: mcus * blocks_per_mcu * 128,
            plain_sampling,
            mcu_width: 8 * if count == 1 { 1 } else { max_h as usize },
        })
    }

    /// Starts decoding at `1/denominator` of the size, for 1, 2, 4 or 8; gives the size of what comes out. Of several
    /// scans all are read here. The integer DCT and smooth chroma of libjpeg's defaults, which OpenCV uses too.
    pub(super) fn start(&mut self, samples: Samples, denominator: u32) -> Result<(usize, usize), PhotoError> {
        self.guarded(|cinfo| {
            cinfo.out_color_space = match samples {
                Samples::Rgb => J_COLOR_SPACE::JCS_RGB,
                Samples::Cmyk => J_COLOR_SPACE::JCS_CMYK,
            };
            cinfo.scale_num = 1;
            cinfo.scale_denom = denominator;
            cinfo.dct_method = sys::J_DCT_METHOD::JDCT_ISLOW;
            #[expect(unsafe_code, reason = "a call of libjpeg")]
            // SAFETY: the header was read in `new`; errors unwind to `guarded`.
            unsafe {
                sys::jpeg_start_decompress(cinfo)
            };
        })?;
        Ok((
            self.cinfo.output_width as usize,
            self.cinfo.output_height as usize,
        ))
    }

    /// Restricts rows to columns `x..x + width`, before the first row is read. Gives the first column that rows really
    /// start with, at most `x`; they end at `x + width`. Smooth chroma is exact except in the outermost columns.
    pub(super) fn crop_columns(&mut self, x: usize, width: usize) -> Result<usize, PhotoError> {
        let outside = || PhotoError::corrupt("columns outside the picture");
        let mut x = u32::try_from(x).map_err(|_| outside())?;
        let mut width = u32::try_from(width).map_err(|_| outside())?;
        self.guarded(|cinfo| {
            #[expect(unsafe_code, reason = "a call of libjpeg")]
            // SAFETY: called between `start` and the first row; libjpeg checks the range itself.
            unsafe {
                sys::jpeg_crop_scanline(cinfo, &mut x, &mut width);
            }
        })?;
        Ok(x as usize)
    }

    /// Passes over rows: their entropy-coded data is read, nothing is transformed.
    pub(super) fn skip_rows(&mut self, rows: usize) -> Result<(), PhotoError> {
        let rows = u32::try_from(rows).map_err(|_| PhotoError::corrupt("rows outside the picture"))?;
        self.guarded(|cinfo| {
            #[expect(unsafe_code, reason = "a call of libjpeg")]
            // SAFETY: decoding has started; libjpeg stops at the last row by itself.
            unsafe {
                sys::jpeg_skip_scanlines(cinfo, rows);
            }
        })
    }

    /// Reads the next row into the front of `row`.
    pub(super) fn read_row(&mut self, row: &mut [u8]) -> Result<(), PhotoError> {
        let needed =
            self.cinfo.output_width as usize * usize::try_from(self.cinfo.output_components).unwrap_or(0);
        if row.len() < needed {
            return Err(PhotoError::corrupt("a row is longer than the header says"));
        }
        let mut rows = [row.as_mut_ptr()];
        let read = self.guarded(|cinfo| {
            #[expect(unsafe_code, reason = "a call of libjpeg")]
            // SAFETY: decoding has started, `rows` holds one pointer to at least `output_width * output_components`
            // writable bytes (checked above), and at most that one row is written.
            unsafe {
                sys::jpeg_read_scanlines(cinfo, rows.as_mut_ptr(), 1)
            }
        })?;
        if read == 1 {
            Ok(())
        } else {
            Err(PhotoError::Truncated)
        }
    }

    /// Reads on to the end-of-image marker, after the last row; a file without it is truncated.
    pub(super) fn finish(&mut self) -> Result<(), PhotoError> {
        self.guarded(|cinfo| {
            #[expect(unsafe_code, reason = "a call of libjpeg")]
            // SAFETY: decoding has started; with rows left libjpeg reports an error.
            unsafe {
                sys::jpeg_finish_decompress(cinfo);
            }
        })
    }

    /// Runs `call` and turns its unwinding into the error that caused it. After an error only `drop` is left to do.
    fn guarded<T>(
        &mut self,
        call: impl FnOnce(&mut sys::jpeg_decompress_struct) -> T,
    ) -> Result<T, PhotoError> {
        let cinfo = &mut *self.cinfo;
        catch_unwind(AssertUnwindSafe(|| call(cinfo))).map_err(|_| {
            #[expect(unsafe_code, reason = "the callbacks' own state")]
            // SAFETY: `hooks` is live until `drop`, and no callback runs outside `call`.
            let failure = unsafe { (*self.hooks).failure.take() };
            failure.unwrap_or_else(|| PhotoError::corrupt("the decoder gave up"))
        })
    }
}

impl Drop for JpegReader<'_> {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "handing libjpeg's memory back")]
        // SAFETY: `cinfo` was zeroed or created; destroying looks at its memory manager only, null if never created.
        // Afterwards nothing refers to `hooks`, which came from `Box::into_raw`.
        unsafe {
            sys::jpeg_destroy_decompress(&mut self.cinfo);
            drop(Box::from_raw(self.hooks));
        }
    }
}

/// Called for every iMCU row of a scan and for every row read.
extern "C-unwind" fn watch(common: &mut sys::jpeg_common_struct) {
    #[expect(unsafe_code, reason = "the callback's state")]
    // SAFETY: `client_data` was set to the live `Hooks` of this reader. `is_decompressor` is set for every reader, and
    // `jpeg_common_struct` is the first field of `jpeg_decompress_struct` by libjpeg's design.
    let (deadline, scan) = unsafe {
        let hooks = common.client_data.cast::<Hooks>();
        let cinfo = ptr::from_mut(common).cast::<sys::jpeg_decompress_struct>();
        ((*hooks).deadline, (*cinfo).input_scan_number)
    };
    if scan > MAX_SCANS {
        unwind_with(
            common,
            PhotoError::corrupt(format!("more than {MAX_SCANS} scans")),
        );
    }
    if let Err(timeout) = deadline.check() {
        unwind_with(common, timeout);
    }
}

/// libjpeg's fatal errors.
extern "C-unwind" fn fail(common: &mut sys::jpeg_common_struct) {
    let code = message_code(common);
    let failure = match code {
        sys::JERR_EMPTY_IMAGE => PhotoError::ZeroDimension,
        sys::JERR_OUT_OF_MEMORY | sys::JERR_NO_BACKING_STORE => PhotoError::OutOfMemory,
        sys::JERR_INPUT_EMPTY | sys::JERR_INPUT_EOF => PhotoError::Truncated,
        sys::JERR_ARITH_NOTIMPL | sys::JERR_SOF_UNSUPPORTED | sys::JERR_BAD_PRECISION => {
            PhotoError::unsupported("a JPEG of an uncommon kind (arithmetic coding, lossless or 12 bits)")
        }
        sys::JERR_IMAGE_TOO_BIG => PhotoError::SideTooLong {
            side: 65_536,
            limit: 65_500,
        },
        code => PhotoError::corrupt(format!("libjpeg error {code}")),
    };
    unwind_with(common, failure)
}

/// libjpeg's warnings: it would go on and paint what is missing grey. Those that mean missing or wrong pixels end the
/// decoding; those about markers and stray bytes, which cameras produce, are passed over.
extern "C-unwind" fn judge(common: &mut sys::jpeg_common_struct, level: c_int) {
    if level >= 0 {
        return;
    }
    match message_code(common) {
        sys::JWRN_JPEG_EOF => unwind_with(common, PhotoError::Truncated),
        sys::JWRN_HIT_MARKER => unwind_with(common, PhotoError::corrupt("a scan ends too early")),
        sys::JWRN_HUFF_BAD_CODE => unwind_with(common, PhotoError::corrupt("an impossible Huffman code")),
        sys::JWRN_MUST_RESYNC => unwind_with(common, PhotoError::corrupt("a restart marker is missing")),
        _ => {}
    }
}

fn message_code(common: &sys::jpeg_common_struct) -> c_int {
    // SAFETY: `client_data` was set to the live `Hooks` of this reader, whose `error` libjpeg has just filled.
    #[expect(unsafe_code, reason = "the callback's state")]
    unsafe {
        (*common.client_data.cast::<Hooks>()).error.msg_code
    }
}

/// Leaves libjpeg; `resume_unwind` does not run the panic hook.
fn unwind_with(common: &sys::jpeg_common_struct, failure: PhotoError) -> ! {
    #[expect(unsafe_code, reason = "the callback's state")]
    // SAFETY: `client_data` was set to the live `Hooks` of this reader; no reference into it exists.
    unsafe {
        (*common.client_data.cast::<Hooks>()).failure = Some(failure);
    }
    resume_unwind(Box::new(Unwound))
}
