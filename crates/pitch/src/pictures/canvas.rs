//! Rectangles, pictures and text on a page.

use tiny_skia::{Color, FillRule, Mask, Paint, PathBuilder, Pixmap, PremultipliedColorU8, Rect, Transform};
use ttf_parser::{Face, GlyphId, OutlineBuilder};

use crate::RgbImage;

use super::PictureError;

// Inter, SIL Open Font License 1.1 (fonts/LICENSE.txt), reduced to Latin.
const REGULAR: &[u8] = include_bytes!("fonts/Inter-Regular.otf");
const SEMI_BOLD: &[u8] = include_bytes!("fonts/Inter-SemiBold.otf");

/// A colour as `0xRRGGBB`.
#[derive(Clone, Copy)]
pub(super) struct Ink(pub u32);

impl Ink {
    fn color(self) -> Color {
        let [_, r, g, b] = self.0.to_be_bytes();
        Color::from_rgba8(r, g, b, 255)
    }

    fn paint(self) -> Paint<'static> {
        let mut paint = Paint::default();
        paint.set_color(self.color());
        paint
    }
}

/// How a text looks: weight, size in pixels, colour.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub bold: bool,
    pub size: f32,
    pub ink: Ink,
}

/// A rectangle on the page in pixels.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub x: f32,
    pub y: f32,
    pub width: f32,
    pub height: f32,
}

impl Area {
    /// What is left inside a margin on all sides.
    pub(super) fn inset(self, margin: f32) -> Self {
        Self {
            x: self.x + margin,
            y: self.y + margin,
            width: (self.width - 2.0 * margin).max(0.0),
            height: (self.height - 2.0 * margin).max(0.0),
        }
    }

    pub(super) fn right(self) -> f32 {
        self.x + self.width
    }

    pub(super) fn bottom(self) -> f32 {
        self.y + self.height
    }
}

pub(super) struct Canvas {
    pixels: Pixmap,
    regular: Face<'static>,
    semi_bold: Face<'static>,
}

impl Canvas {
    /// A page of one colour.
    pub(super) fn new(width: u32, height: u32, background: Ink) -> Result<Self, PictureError> {
        let mut pixels = Pixmap::new(width, height).ok_or(PictureError::Page { width, height })?;
        pixels.fill(background.color());
        Ok(Self {
            pixels,
            regular: Face::parse(REGULAR, 0)?,
            semi_bold: Face::parse(SEMI_BOLD, 0)?,
        })
    }

    /// Columns, rows, and samples `R G B A`; every pixel is opaque.
    pub(super) fn samples(&self) -> (usize, usize, &[u8]) {
        let (width, height) = (self.pixels.width() as usize, self.pixels.height() as usize);
        (width, height, self.pixels.data())
    }

    /// A filled rectangle with round corners.
    pub(super) fn rounded(&mut self, area: Area, radius: f32, ink: Ink) {
        if let Some(path) = rounded_path(area, radius) {
            let paint = ink.paint();
            self.pixels
                .fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
        }
    }

    /// Lays `picture` in the middle of `area`, which it must not exceed; gives the place that it took.
    pub(super) fn picture(&mut self, picture: &RgbImage, area: Area, radius: f32) -> Area {
        let (width, height) = (picture.width(), picture.height());
        let place = Area {
            x: (area.x + (area.width - width as f32) / 2.0).floor().max(0.0),
            y: (area.y + (area.height - height as f32) / 2.0).floor().max(0.0),
            width: width as f32,
            height: height as f32,
        };
        let (page_width, page_height) = (self.pixels.width(), self.pixels.height());
        let mask = rounded_path(place, radius).and_then(|path| {
            let mut mask = Mask::new(page_width, page_height)?;
            mask.fill_path(&path, FillRule::Winding, true, Transform::identity());
            Some(mask)
        });
        let (left, top, stride) = (place.x as usize, place.y as usize, page_width as usize);
        let rows = self.pixels.pixels_mut().chunks_exact_mut(stride).enumerate();
        for (y, row) in rows.skip(top).take(height) {
            let cover = mask
                .as_ref()
                .map_or(&[][..], |m| &m.data()[y * stride..][..stride]);
            let samples = picture.row(y - top).as_chunks::<3>().0;
            for (x, (pixel, &[r, g, b])) in row.iter_mut().skip(left).zip(samples).enumerate() {
                let cover = cover.get(left + x).copied().unwrap_or(255);
                let mix = |new: u8, old: u8| {
                    let (new, old, cover) = (u32::from(new), u32::from(old), u32::from(cover));
                    ((new * cover + old * (255 - cover) + 127) / 255) as u8
                };
                let mixed = (mix(r, pixel.red()), mix(g, pixel.green()), mix(b, pixel.blue()));
                if let Some(mixed) = PremultipliedColorU8::from_rgba(mixed.0, mixed.1, mixed.2, 255) {
                    *pixel = mixed;
                }
            }
        }
        place
    }

    /// Writes `text` from `x` on along the line at `baseline`; gives where it ends.
    pub(super) fn text(&mut self, text: &str, x: f32, baseline: f32, style: Style) -> f32 {
        let face = if style.bold {
            &self.semi_bold
        } else {
            &self.regular
        };
        let scale = style.size / f32::from(face.units_per_em());
        let mut outline = Outline {
            path: PathBuilder::new(),
            x,
            baseline,
            scale,
        };
        for glyph in text.chars().map(|c| glyph(face, c)) {
            face.outline_glyph(glyph, &mut outline);
            outline.x += advance(face, glyph) * scale;
        }
        let end = outline.x;
        if let Some(path) = outline.path.finish() {
            let paint = style.ink.paint();
            self.pixels
                .fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
        }
        end
    }

    /// Writes `text` so that it ends at `right`.
    pub(super) fn text_to(&mut self, text: &str, right: f32, baseline: f32, style: Style) {
        let x = right - self.width_of(text, style);
        self.text(text, x, baseline, style);
    }

    /// Writes `text` in lines of at most `area.width`, as many as `area.height` holds, the last one ending in an
    /// ellipsis if there is more. Gives where the next line would start.
    pub(super) fn paragraph(&mut self, text: &str, area: Area, style: Style) -> f32 {
        let leading = style.size * 1.35;
        let fit = (area.height / leading).floor().max(1.0) as usize;
        let mut lines = self.wrapped(text, area.width, style);
        if lines.len() > fit {
            lines.truncate(fit);
            if let Some(last) = lines.last_mut() {
                last.push('…');
            }
        }
        let mut y = area.y;
        for line in lines {
            self.text(&line, area.x, y + style.size, style);
            y += leading;
        }
        y
    }

    fn wrapped(&self, text: &str, width: f32, style: Style) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            if let Some(line) = lines.last_mut() {
                let longer = format!("{line} {word}");
                if self.width_of(&longer, style) <= width {
                    *line = longer;
                    continue;
                }
            }
            lines.push(word.to_owned());
        }
        lines
    }

    /// Width of `text` in pixels.
    pub(super) fn width_of(&self, text: &str, style: Style) -> f32 {
        let face = if style.bold {
            &self.semi_bold
        } else {
            &self.regular
        };
        let units: f32 = text.chars().map(|c| advance(face, glyph(face, c))).sum();
        units * style.size / f32::from(face.units_per_em())
    }
}

fn glyph(face: &Face<'_>, c: char) -> GlyphId {
    face.glyph_index(c).unwrap_or(GlyphId(0))
}

fn advance(face: &Face<'_>, glyph: GlyphId) -> f32 {
    face.glyph_hor_advance(glyph).map_or(0.0, f32::from)
}

fn rounded_path(area: Area, radius: f32) -> Option<tiny_skia::Path> {
    let Area { x, y, width, height } = area;
    let r = radius.min(width / 2.0).min(height / 2.0);
    if r < 0.5 {
        return Some(PathBuilder::from_rect(Rect::from_xywh(x, y, width, height)?));
    }
    let (right, bottom) = (area.right(), area.bottom());
    let mut path = PathBuilder::new();
    path.move_to(x + r, y);
    path.line_to(right - r, y);
    path.quad_to(right, y, right, y + r);
    path.line_to(right, bottom - r);
    path.quad_to(right, bottom, right - r, bottom);
    path.line_to(x + r, bottom);
    path.quad_to(x, bottom, x, bottom - r);
    path.line_to(x, y + r);
    path.quad_to(x, y, x + r, y);
    path.close();
    path.finish()
}

/// Adds glyphs to a path. Fonts count upwards, pages downwards.
struct Outline {
    path: PathBuilder,
    x: f32,
    baseline: f32,
    scale: f32,
}

impl Outline {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.baseline - y * self.scale)
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
