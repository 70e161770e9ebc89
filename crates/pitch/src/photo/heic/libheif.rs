//! The one place that talks to libheif. Signatures and structures from `libheif/heif.h` of 1.15 (Debian 12); what newer
//! versions add is used when it is there.

use std::ffi::{CStr, OsStr};
use std::marker::PhantomData;
use std::os::raw::{c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use libloading::Library;

use super::super::error::PhotoError;
use super::super::limits::Limits;

/// Its name under the dynamic linker, with the version of the interface.
const NAME: &str = "libheif.so.1";

/// More EXIF than any camera writes.
const MAX_EXIF: usize = 1 << 20;

/// `heif_error`, returned by value.
#[repr(C)]
struct HeifError {
    code: c_int,
    subcode: c_int,
    message: *const c_char,
}

/// The front of `heif_decoding_options`, as far as version 3 goes; allocated and filled by libheif.
#[repr(C)]
struct DecodingOptions {
    version: u8,
    ignore_transformations: u8,
    progress: [*mut c_void; 4],
    /// From version 2 on.
    convert_hdr_to_8bit: u8,
    /// From version 3 on.
    strict_decoding: u8,
}

/// The front of `heif_security_limits`, version 1 (libheif 1.19).
#[repr(C)]
struct SecurityLimits {
    version: u8,
    max_image_size_pixels: u64,
    max_number_of_tiles: u64,
    max_bayer_pattern_pixels: u32,
    max_items: u32,
    max_color_profile_size: u32,
    max_memory_block_size: u64,
}

const COLORSPACE_RGB: c_int = 1;
const CHROMA_INTERLEAVED_RGB: c_int = 10;
const CHANNEL_INTERLEAVED: c_int = 10;

/// Opaque objects of libheif.
type Object = *mut c_void;

/// Declares [`Heif`]: the functions that must be there, and those that newer versions have.
macro_rules! functions {
    (required { $($name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)* } optional { $($new:ident: fn($($new_arg:ty),*) $(-> $new_ret:ty)?;)* }) => {
        /// libheif's functions; the library stays loaded until the process ends.
        #[expect(non_snake_case, reason = "libheif's own names")]
        pub(super) struct Heif {
            $($name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
            $($new: Option<unsafe extern "C" fn($($new_arg),*) $(-> $new_ret)?>,)*
            _library: Library,
        }

        impl Heif {
            fn bind(library: Library) -> Result<Self, libloading::Error> {
                #[expect(unsafe_code, reason = "binding the functions of a C library")]
                // SAFETY: the types are those of `heif.h`, whose interface is stable within `libheif.so.1`; the
                // pointers are used only while `library`, kept beside them, is loaded.
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                        $($new: library.get(concat!(stringify!($new), "\0").as_bytes()).ok().map(|symbol| *symbol),)*
                        _library: library,
                    })
                }
            }
        }
    };
}

functions! {
    required {
        heif_context_alloc: fn() -> Object;
        heif_context_free: fn(Object);
        heif_context_read_from_memory_without_copy: fn(Object, *const c_void, usize, *const c_void) -> HeifError;
        heif_context_set_maximum_image_size_limit: fn(Object, c_int);
        heif_context_get_primary_image_handle: fn(Object, *mut Object) -> HeifError;
        heif_image_handle_release: fn(Object);
        heif_image_handle_get_width: fn(Object) -> c_int;
        heif_image_handle_get_height: fn(Object) -> c_int;
        heif_image_handle_get_list_of_metadata_block_IDs: fn(Object, *const c_char, *mut u32, c_int) -> c_int;
        heif_image_handle_get_metadata_size: fn(Object, u32) -> usize;
        heif_image_handle_get_metadata: fn(Object, u32, *mut c_void) -> HeifError;
        heif_decoding_options_alloc: fn() -> *mut DecodingOptions;
        heif_decoding_options_free: fn(*mut DecodingOptions);
        heif_decode_image: fn(Object, *mut Object, c_int, c_int, *const DecodingOptions) -> HeifError;
        heif_image_get_width: fn(Object, c_int) -> c_int;
        heif_image_get_height: fn(Object, c_int) -> c_int;
        heif_image_get_plane_readonly: fn(Object, c_int, *mut c_int) -> *const u8;
        heif_image_release: fn(Object);
    }
    optional {
        heif_init: fn(*mut c_void) -> HeifError;
        heif_context_set_max_decoding_threads: fn(Object, c_int);
        heif_context_get_security_limits: fn(Object) -> *mut SecurityLimits;
    }
}

static LIBRARY: OnceLock<Result<Heif, String>> = OnceLock::new();

/// The library, loaded on the first call.
pub(super) fn library() -> Result<&'static Heif, PhotoError> {
    library_from(OsStr::new(NAME))
}

/// The library at `path`, unless one was loaded (or not found) before.
pub(super) fn library_at(path: &Path) -> Result<&'static Heif, PhotoError> {
    library_from(path.as_os_str())
}

fn library_from(name: &OsStr) -> Result<&'static Heif, PhotoError> {
    let loaded = LIBRARY.get_or_init(|| load(name).map_err(|error| error.to_string()));
    loaded.as_ref().map_err(|reason| PhotoError::HeicUnavailable {
        reason: reason.clone(),
    })
}

fn load(name: &OsStr) -> Result<Heif, libloading::Error> {
    #[expect(unsafe_code, reason = "loading a C library runs its initialisers")]
    // SAFETY: libheif's initialisers register its built-in codecs, nothing else; whoever may choose another library for
    // this process may choose the program as well.
    let library = unsafe { Library::new(name)? };
    let heif = Heif::bind(library)?;
    if let Some(init) = heif.heif_init {
        #[expect(unsafe_code, reason = "a call of libheif")]
        // SAFETY: null parameters are allowed; called once, before any other function. It loads decoder plug-ins.
        unsafe {
            init(ptr::null_mut())
        };
    }
    Ok(heif)
}

/// An opened file with its primary picture.
pub(super) struct Context<'a> {
    heif: &'static Heif,
    context: Object,
    handle: Object,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Context<'a> {
    /// Parses the boxes of `bytes`; decodes nothing.
    pub(super) fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self, PhotoError> {
        let heif = library()?;
        #[expect(unsafe_code, reason = "calls of libheif")]
        // SAFETY: `context` is fresh and freed in `drop`, also when a later call fails; `bytes` outlives it by the
        // lifetime, as the function that does not copy demands. The limits are written within the front of the
        // structure that every version has had since it exists, through the pointer libheif gives for that.
        unsafe {
            let context = (heif.heif_context_alloc)();
            if context.is_null() {
                return Err(PhotoError::OutOfMemory);
            }
            let mut this = Self {
                heif,
                context,
                handle: ptr::null_mut(),
                bytes: PhantomData,
            };
            let side = c_int::try_from(limits.max_side).unwrap_or(c_int::MAX);
            (heif.heif_context_set_maximum_image_size_limit)(context, side);
            if let Some(set_threads) = heif.heif_context_set_max_decoding_threads {
                // In the calling thread: a lane has one core.
                set_threads(context, 0);
            }
            if let Some(security) = heif.heif_context_get_security_limits
                && let Some(security) = security(context).as_mut()
                && security.version >= 1
            {
                security.max_image_size_pixels = limits.max_pixels;
                security.max_memory_block_size = limits.max_memory;
            }
            let read = (heif.heif_context_read_from_memory_without_copy)(
                context,
                bytes.as_ptr().cast(),
                bytes.len(),
                ptr::null(),
            );
            check(&read)?;
            let found = (heif.heif_context_get_primary_image_handle)(context, &mut this.handle);
            check(&found)?;
            if this.handle.is_null() {
                return Err(PhotoError::corrupt("no primary picture"));
            }
            Ok(this)
        }
    }

    /// Columns and rows after rotation and cropping.
    pub(super) fn size(&self) -> Result<(usize, usize), PhotoError> {
        #[expect(unsafe_code, reason = "calls of libheif")]
        // SAFETY: `handle` is live until `drop`.
        let (width, height) = unsafe {
            (
                (self.heif.heif_image_handle_get_width)(self.handle),
                (self.heif.heif_image_handle_get_height)(self.handle),
            )
        };
        match (usize::try_from(width), usize::try_from(height)) {
            (Ok(width), Ok(height)) => Ok((width, height)),
            _ => Err(PhotoError::corrupt("a negative size")),
        }
    }

    /// The bytes of the EXIF block as they are stored.
    pub(super) fn exif_block(&self) -> Option<Vec<u8>> {
        let mut id = 0;
        #[expect(unsafe_code, reason = "calls of libheif")]
        // SAFETY: `handle` is live; at most one id is written to `id`, and exactly `size` bytes to `block`.
        unsafe {
            let found = (self.heif.heif_image_handle_get_list_of_metadata_block_IDs)(
                self.handle,
                c"Exif".as_ptr(),
                &mut id,
                1,
            );
            if found < 1 {
                return None;
            }
            let size = (self.heif.heif_image_handle_get_metadata_size)(self.handle, id);
            if size > MAX_EXIF {
                return None;
            }
            let mut block = vec![0_u8; size];
            let read = (self.heif.heif_image_handle_get_metadata)(self.handle, id, block.as_mut_ptr().cast());
            (read.code == 0).then_some(block)
        }
    }

    /// Decodes into `pixels`, `width * height` of them.
    pub(super) fn decode(&self, width: usize, height: usize, pixels: &mut [u8]) -> Result<(), PhotoError> {
        let image = self.decode_image()?;
        let mut stride: c_int = 0;
        #[expect(unsafe_code, reason = "calls of libheif")]
        // SAFETY: `image` holds a live image.
        let (plane, columns, rows) = unsafe {
            (
                (self.heif.heif_image_get_plane_readonly)(image.image, CHANNEL_INTERLEAVED, &mut stride),
                (self.heif.heif_image_get_width)(image.image, CHANNEL_INTERLEAVED),
                (self.heif.heif_image_get_height)(image.image, CHANNEL_INTERLEAVED),
            )
        };
        let stride = usize::try_from(stride).unwrap_or(0);
        let same_size = usize::try_from(columns) == Ok(width) && usize::try_from(rows) == Ok(height);
        if plane.is_null() || !same_size || stride < width * 3 || pixels.len() < width * height * 3 {
            return Err(PhotoError::corrupt("a picture of another size than announced"));
        }
        for (y, row) in pixels.chunks_exact_mut(width * 3).take(height).enumerate() {
            #[expect(unsafe_code, reason = "reading libheif's pixels")]
            // SAFETY: the plane has `height` rows (checked above) that start `stride` bytes apart and hold at least
            // `width * 3` bytes each; it lives as long as `image`.
            let source = unsafe { std::slice::from_raw_parts(plane.add(y * stride), width * 3) };
            row.copy_from_slice(source);
        }
        Ok(())
    }

    fn decode_image(&self) -> Result<DecodedImage, PhotoError> {
        let mut image = ptr::null_mut();
        #[expect(unsafe_code, reason = "calls of libheif")]
        // SAFETY: `handle` is live. The options come from libheif and are freed here; a field is written only if their
        // version has it. The image that comes out is owned by `DecodedImage`.
        let result = unsafe {
            let options = (self.heif.heif_decoding_options_alloc)();
            if let Some(options) = options.as_mut() {
                if options.version >= 2 {
                    options.convert_hdr_to_8bit = 1;
                }
                if options.version >= 3 {
                    options.strict_decoding = 1;
                }
            }
            let result = (self.heif.heif_decode_image)(
                self.handle,
                &mut image,
                COLORSPACE_RGB,
                CHROMA_INTERLEAVED_RGB,
                options,
            );
            (self.heif.heif_decoding_options_free)(options);
            result
        };
        let image = DecodedImage {
            heif: self.heif,
            image,
        };
        check(&result)?;
        if image.image.is_null() {
            return Err(PhotoError::corrupt("nothing was decoded"));
        }
        Ok(image)
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "handing libheif's memory back")]
        // SAFETY: both came from libheif and are released once, the handle before its context.
        unsafe {
            if !self.handle.is_null() {
                (self.heif.heif_image_handle_release)(self.handle);
            }
            (self.heif.heif_context_free)(self.context);
        }
    }
}

struct DecodedImage {
    heif: &'static Heif,
    image: Object,
}

impl Drop for DecodedImage {
    fn drop(&mut self) {
        if self.image.is_null() {
            return;
        }
        #[expect(unsafe_code, reason = "handing libheif's memory back")]
        // SAFETY: came from `heif_decode_image` and is released once.
        unsafe {
            (self.heif.heif_image_release)(self.image);
        }
    }
}

/// `heif_error_code` and `heif_suberror_code` of `heif.h` in our words.
fn check(error: &HeifError) -> Result<(), PhotoError> {
    const OK: c_int = 0;
    const UNSUPPORTED_FILETYPE: c_int = 3;
    const UNSUPPORTED_FEATURE: c_int = 4;
    const MEMORY_ALLOCATION: c_int = 6;
    const END_OF_DATA: c_int = 100;
    const SECURITY_LIMIT: c_int = 1000;
    const UNSUPPORTED_CODEC: c_int = 3000;

    if error.code == OK {
        return Ok(());
    }
    let message = if error.message.is_null() {
        "unknown".to_owned()
    } else {
        #[expect(unsafe_code, reason = "a message of libheif")]
        // SAFETY: not null, and libheif's messages are C strings that live at least until its next call.
        let message = unsafe { CStr::from_ptr(error.message) };
        message.to_string_lossy().into_owned()
    };
    Err(match (error.code, error.subcode) {
        (_, UNSUPPORTED_CODEC) => PhotoError::HeicUnavailable {
            reason: format!("it has no decoder for this picture, a plug-in may be missing: {message}"),
        },
        (MEMORY_ALLOCATION, SECURITY_LIMIT) => PhotoError::corrupt(format!("libheif refuses it: {message}")),
        (MEMORY_ALLOCATION, _) => PhotoError::OutOfMemory,
        (_, END_OF_DATA) => PhotoError::Truncated,
        (UNSUPPORTED_FILETYPE | UNSUPPORTED_FEATURE, _) => {
            PhotoError::unsupported(format!("a HEIC of an uncommon kind ({message})"))
        }
        _ => PhotoError::corrupt(format!("libheif: {message}")),
    })
}
