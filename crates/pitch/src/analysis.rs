//! The analysis of one photo: what it is made of. The field names are those of the result on the wire
//! (`pitchfleet.result/1`), a contract with its readers.

mod surface;

use serde::{Deserialize, Serialize};

pub use self::surface::{
    Brightness, BrightnessLevel, Colour, ColourType, CrackSeverity, Cracks, Grass, GrassLevel, Moisture,
    MoistureLevel, Surface, Texture, TextureType,
};

/// Version of the algorithm. Part of a result's digest: raise it when the same photo would give other numbers.
pub const ALGORITHM_VERSION: u32 = 1;

/// What a batch may choose about the analysis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Least score of a box, 0..=1; `None` takes the bundle's threshold.
    pub detection_threshold: Option<f32>,
    /// Skip detection: the photo is a crop of a pitch already.
    pub full_frame: bool,
    /// Longest side in pixels at which the surface is read; 0 is the crop's own size.
    pub analysis_max_side: usize,
    /// Pictures to make.
    pub overlays: Vec<OverlayKind>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            detection_threshold: None,
            full_frame: false,
            analysis_max_side: 1920,
            overlays: Vec::new(),
        }
    }
}

/// A picture that shows one part of the analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlayKind {
    /// Grass mask tinted green.
    Grass,
    /// Edges through a HOT colour map.
    Cracks,
    /// Darkness through a JET colour map.
    Moisture,
    /// The analysed crop itself.
    Crop,
    /// The photo with the box drawn.
    Box,
    /// One page: the pictures, the features, the probabilities before and after the rules.
    Report,
}

impl OverlayKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Grass,
        Self::Cracks,
        Self::Moisture,
        Self::Crop,
        Self::Box,
        Self::Report,
    ];

    /// The name on the wire and in file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grass => "grass",
            Self::Cracks => "cracks",
            Self::Moisture => "moisture",
            Self::Crop => "crop",
            Self::Box => "box",
            Self::Report => "report",
        }
    }
}

/// A photo's analysis, without what surrounds it (ids, keys, worker).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The file.
    pub photo: PhotoFacts,
    /// Where the pitch is.
    pub detection: Detection,
    /// What its surface is like.
    pub surface: Surface,
    /// What it favours.
    pub classification: Classification,
    /// What follows for a captain.
    pub advice: Advice,
    /// Where the time went.
    pub timing: StageTiming,
}

/// Facts about the file itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhotoFacts {
    /// Container format.
    pub format: PhotoFormat,
    /// Columns after orientation.
    pub width: usize,
    /// Rows after orientation.
    pub height: usize,
    /// EXIF orientation, 1..=8; 1 when absent.
    pub orientation: u8,
    /// EXIF `DateTimeOriginal` as ISO 8601 local time, `2026-06-14T10:32:11`.
    pub taken_at: Option<String>,
}

/// The container formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhotoFormat {
    /// ITU-T T.81 in JFIF or EXIF.
    Jpeg,
    /// PNG, ISO/IEC 15948.
    Png,
    /// WebP, RFC 9649; still images only.
    Webp,
    /// TIFF 6.0, first page.
    Tiff,
    /// HEIF with HEVC or AV1, through libheif when it is present.
    Heic,
}

/// Corners `[x1, y1, x2, y2]` in pixels of the upright photo, the second one exclusive.
pub type PixelBox = [usize; 4];

/// What the detector found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Whether any box passed the threshold. When none did, the whole photo was analysed.
    pub detected: bool,
    /// Score of the best box, 0..=1.
    pub confidence: Option<f64>,
    /// The best box, truncated to whole pixels.
    #[serde(rename = "box")]
    pub best: Option<PixelBox>,
    /// Every box that survived non-maximum suppression, best first.
    pub boxes: Vec<DetectedBox>,
    /// The rectangle that was analysed, at the photo's resolution.
    pub crop: Size,
    /// The size at which the surface was read.
    pub analysed: Size,
}

/// One box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectedBox {
    /// Corners.
    #[serde(rename = "box")]
    pub corners: PixelBox,
    /// Score, 0..=1.
    pub confidence: f64,
    /// Name of its class.
    pub class: String,
}

/// A size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Declares a level: its variants, each with the words that stand on the wire and on a page.
macro_rules! level {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every level, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The words for it on the wire and on a page.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
use level;

level! {
    /// What a pitch favours.
    PitchClass {
        /// True bounce, few demons.
        Batting = "batting_friendly",
        /// Help for bowlers in general: grass, moisture.
        Bowling = "bowling_friendly",
        /// Seam movement off the pitch.
        Seam = "seam_friendly",
        /// Turn.
        Spin = "spin_friendly",
    }
}

/// Probabilities over the four classes; they sum to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probabilities {
    /// Batting-friendly.
    pub batting_friendly: f64,
    /// Bowling-friendly.
    pub bowling_friendly: f64,
    /// Seam-friendly.
    pub seam_friendly: f64,
    /// Spin-friendly.
    pub spin_friendly: f64,
}

impl Probabilities {
    /// From values in the order of [`PitchClass::ALL`].
    pub const fn from_array(
        [batting_friendly, bowling_friendly, seam_friendly, spin_friendly]: [f64; 4],
    ) -> Self {
        Self {
            batting_friendly,
            bowling_friendly,
            seam_friendly,
            spin_friendly,
        }
    }

    /// In the order of [`PitchClass::ALL`].
    pub const fn to_array(self) -> [f64; 4] {
        [
            self.batting_friendly,
            self.bowling_friendly,
            self.seam_friendly,
            self.spin_friendly,
        ]
    }

    /// Of one class.
    pub const fn of(self, class: PitchClass) -> f64 {
        match class {
            PitchClass::Batting => self.batting_friendly,
            PitchClass::Bowling => self.bowling_friendly,
            PitchClass::Seam => self.seam_friendly,
            PitchClass::Spin => self.spin_friendly,
        }
    }

    /// The most probable class; of equals the first one in [`PitchClass::ALL`].
    pub fn best(self) -> PitchClass {
        let mut best = PitchClass::Batting;
        for &class in PitchClass::ALL {
            if self.of(class) > self.of(best) {
                best = class;
            }
        }
        best
    }
}

/// The class before and after the cricket rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// What the network said.
    pub model: ClassScores,
    /// What the rules made of it.
    pub corrected: ClassScores,
    /// The rules that fired, in the order of the rule table.
    pub rules: Vec<FiredRule>,
}

/// A class with the probabilities behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// The most probable class.
    pub class: PitchClass,
    /// Its probability.
    pub confidence: f64,
    /// All of them.
    pub probabilities: Probabilities,
}

impl From<Probabilities> for ClassScores {
    fn from(probabilities: Probabilities) -> Self {
        let class = probabilities.best();
        Self {
            class,
            confidence: probabilities.of(class),
            probabilities,
        }
    }
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FiredRule {
    /// Its name, such as `dry_and_bare`.
    pub rule: String,
    /// The class it speaks for.
    pub class: PitchClass,
    /// What it added to that class before the sum was made 1 again.
    pub amount: f64,
    /// A sentence with the figures in it.
    pub reason: String,
}

/// What follows for a captain, as short phrases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// Bat or bowl first.
    pub toss: String,
    /// Batting plan.
    pub batting: Vec<String>,
    /// Bowling plan.
    pub bowling: Vec<String>,
    /// Team composition.
    pub team: Vec<String>,
    /// What decides the match.
    pub key_factors: Vec<String>,
}

/// Milliseconds spent per stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageTiming {
    /// Reading the file's bytes from where they are; measured by whoever reads them.
    #[serde(default)]
    pub fetch: f64,
    /// Reading the header and decoding pixels.
    pub decode: f64,
    /// Letterbox, detector, boxes.
    pub detect: f64,
    /// Scaling to the analysis size and the surface features.
    pub surface: f64,
    /// Classifier with its resize, rules, advice.
    pub classify: f64,
    /// Pictures and their encoding.
    pub overlays: f64,
}

/// A finished picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// What it shows.
    pub kind: OverlayKind,
    /// JPEG bytes.
    pub jpeg: Vec<u8>,
}
