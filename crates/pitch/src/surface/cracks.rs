//! Cracks: long, thin external contours of the dilated edges.
//!
//! OpenCV's way is `dilate` 3x3, `findContours` with `RETR_EXTERNAL`, and a look at every contour. The same contours
//! are found here without following most of them: runs of set bits are joined into components (8-connected), runs of
//! clear bits into regions (4-connected), and only a component that lies in the outside region and whose bounding box
//! could belong to a crack has its border followed (Suzuki and Abe 1985).

/// A contour that is no crack unless its area is above it.
const LEAST_AREA: f64 = 50.0;
/// Longer over shorter side of the bounding box that a crack exceeds.
const LEAST_ELONGATION: f64 = 3.0;

/// An external contour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Contour {
    /// `boundingRect`: x, y, width, height in pixels.
    pub(super) bounds: [usize; 4],
    /// `contourArea`: of the polygon through the centres of the border's pixels.
    pub(super) area: f64,
}

/// A run of set bits in a row.
#[derive(Clone, Copy)]
struct Run {
    start: u32,
    /// Exclusive.
    end: u32,
    /// A run of the same component with a smaller or equal number.
    parent: u32,
    /// Number of the run of clear bits to its left.
    left: u32,
}

/// Finds cracks; keeps its buffers between images.
#[derive(Default)]
pub(super) struct CrackFinder {
    words: usize,
    width: usize,
    height: usize,
    /// Rows of bits, least significant first.
    bits: Vec<u64>,
    runs: Vec<Run>,
    /// Where the runs of each row start.
    rows: Vec<u32>,
    /// For each run of clear bits, one of the same region with a smaller or equal number. Number 0 is the outside.
    regions: Vec<u32>,
    /// Left, top, right, bottom (inclusive) by run; only a component's first run has its box.
    boxes: Vec<[u32; 4]>,
}

impl CrackFinder {
    /// Makes room for an image; rows of edges are then given by [`edge_row`](Self::edge_row).
    pub(super) fn start(&mut self, width: usize, height: usize) {
        self.words = width.div_ceil(64);
        (self.width, self.height) = (width, height);
        self.bits.clear();
        self.bits.resize(self.words * height, 0);
    }

    /// The place for the bits of row `y` of the edges.
    pub(super) fn edge_row(&mut self, y: usize) -> &mut [u64] {
        &mut self.bits[y * self.words..][..self.words]
    }

    /// Dilates the edges by a 3x3 square.
    pub(super) fn dilate(&mut self) {
        let words = self.words;
        let last = u64::MAX >> ((64 - self.width % 64) % 64);
        for row in self.bits.chunks_exact_mut(words.max(1)) {
            let mut before = 0;
            for i in 0..words {
                let (here, after) = (row[i], row.get(i + 1).copied().unwrap_or(0));
                row[i] = here | here << 1 | before >> 63 | here >> 1 | after << 63;
                before = here;
            }
            row[words - 1] &= last;
        }
        let mut above = vec![0; words];
        for y in 0..self.height {
            let (done, ahead) = self.bits.split_at_mut((y + 1) * words);
            let row = &mut done[y * words..];
            for (i, word) in row.iter_mut().enumerate() {
                let here = *word;
                *word |= above[i] | ahead.get(i).copied().unwrap_or(0);
                above[i] = here;
            }
        }
    }

    /// Number of cracks among the external contours.
    pub(super) fn count(&mut self) -> usize {
        self.label();
        let could_be_crack = |&[left, top, right, bottom]: &[u32; 4]| {
            let (w, h) = (f64::from(right - left), f64::from(bottom - top));
            w * h > LEAST_AREA && elongation(w + 1.0, h + 1.0) > LEAST_ELONGATION
        };
        let candidates =
            (0..self.runs.len()).filter(|&i| self.is_external(i) && could_be_crack(&self.boxes[i]));
        candidates.filter(|&i| is_crack(&self.contour(i))).count()
    }

    /// Whether run `i` is the first one of a component that lies in no other.
    fn is_external(&self, i: usize) -> bool {
        self.runs[i].parent as usize == i && self.regions[self.runs[i].left as usize] == 0
    }

    /// Joins runs into components, and the gaps between them into regions.
    fn label(&mut self) {
        self.runs.clear();
        self.rows.clear();
        self.regions.clear();
        self.regions.push(0);
        for y in 0..self.height {
            let first = self.runs.len();
            self.rows.push(first as u32);
            self.read_runs(y);
            match y.checked_sub(1) {
                Some(above) => self.join_rows(self.rows[above] as usize, first),
                None => self.open_row(0),
            }
        }
        self.rows.push(self.runs.len() as u32);
        self.open_row(self.height - 1);
        for i in 1..self.regions.len() {
            self.regions[i] = self.regions[self.regions[i] as usize];
        }
        self.boxes.clear();
        for y in 0..self.height {
            for i in self.rows[y]..self.rows[y + 1] {
                let run = self.runs[i as usize];
                let root = self.runs[run.parent as usize].parent;
                self.runs[i as usize].parent = root;
                self.boxes.push([run.start, y as u32, run.end - 1, y as u32]);
                let around = &mut self.boxes[root as usize];
                around[0] = around[0].min(run.start);
                around[2] = around[2].max(run.end - 1);
                around[3] = y as u32;
            }
        }
    }

    fn read_runs(&mut self, y: usize) {
        let row = &self.bits[y * self.words..][..self.words];
        // The gaps at both ends of a row are the outside.
        let mut left = 0;
        let mut open: Option<u32> = None;
        for (i, &word) in row.iter().enumerate() {
            let base = i as u32 * 64;
            let mut changes = word ^ (word << 1 | u64::from(open.is_some()));
            while changes != 0 {
                let at = base + changes.trailing_zeros();
                changes &= changes - 1;
                match open.take() {
                    None => open = Some(at),
                    Some(start) => {
                        self.runs.push(Run {
                            start,
                            end: at,
                            parent: self.runs.len() as u32,
                            left,
                        });
                        left = self.regions.len() as u32;
                        self.regions.push(left);
                    }
                }
            }
        }
        if let Some(start) = open {
            self.runs.push(Run {
                start,
                end: self.width as u32,
                parent: self.runs.len() as u32,
                left,
            });
        } else if left != 0 {
            // The last gap reaches the right end.
            self.regions[left as usize] = 0;
        }
    }

    /// Joins the runs of two neighbouring rows, those from `above` and those from `here`, and the gaps between them.
    fn join_rows(&mut self, above: usize, here: usize) {
        let (mut a, mut b, end) = (above, here, self.runs.len());
        while a < here && b < end {
            let (upper, lower) = (self.runs[a], self.runs[b]);
            if upper.start <= lower.end && lower.start <= upper.end {
                let (x, y) = (self.root(a as u32), self.root(b as u32));
                self.runs[x.max(y) as usize].parent = x.min(y);
            }
            if upper.end < lower.end { a += 1 } else { b += 1 }
        }
        // Gap k of a row lies between its runs k - 1 and k.
        let gaps = |runs: &[Run], k: usize| {
            let from = if k == 0 { 0 } else { runs[k - 1].end };
            (from, runs.get(k).map_or(u32::MAX, |run| run.start))
        };
        let number = |runs: &[Run], k: usize, next: u32| match runs.get(k) {
            Some(run) => run.left,
            None => next,
        };
        let (upper, lower) = (here - above, end - here);
        let (mut a, mut b) = (0, 0);
        while a <= upper && b <= lower {
            let (above_runs, here_runs) = (&self.runs[above..here], &self.runs[here..end]);
            let (p, q) = (gaps(above_runs, a), gaps(here_runs, b));
            if p.0.max(q.0) < p.1.min(q.1).min(self.width as u32) {
                let x = number(above_runs, a, 0);
                let y = number(here_runs, b, 0);
                let (x, y) = (self.region(x), self.region(y));
                self.regions[x.max(y) as usize] = x.min(y);
            }
            if p.1 < q.1 { a += 1 } else { b += 1 }
        }
    }

    /// Joins the gaps of the first or the last row with the outside beyond it.
    fn open_row(&mut self, y: usize) {
        let end = self.rows.get(y + 1).map_or(self.runs.len(), |&end| end as usize);
        for i in self.rows[y] as usize..end {
            let region = self.region(self.runs[i].left);
            self.regions[region as usize] = 0;
        }
    }

    fn root(&mut self, mut i: u32) -> u32 {
        while self.runs[i as usize].parent != i {
            let parent = self.runs[i as usize].parent;
            self.runs[i as usize].parent = self.runs[parent as usize].parent;
            i = parent;
        }
        i
    }

    fn region(&mut self, mut i: u32) -> u32 {
        while self.regions[i as usize] != i {
            let parent = self.regions[i as usize];
            self.regions[i as usize] = self.regions[parent as usize];
            i = parent;
        }
        i
    }

    /// The contour of the component whose first run is `i`.
    fn contour(&self, i: usize) -> Contour {
        let [left, top, right, bottom] = self.boxes[i].map(|v| v as usize);
        let start = (self.runs[i].start as i32, top as i32);
        Contour {
            bounds: [left, top, right - left + 1, bottom - top + 1],
            area: self.outline_area(start),
        }
    }

    fn is_set(&self, (x, y): (i32, i32)) -> bool {
        let inside = x >= 0 && y >= 0 && (x as usize) < self.width && (y as usize) < self.height;
        inside && self.bits[y as usize * self.words + x as usize / 64] >> (x % 64) & 1 == 1
    }

    /// Area within the outer border of the component whose first pixel in reading order is `start`, by the shoelace
    /// formula over the border's pixels.
    fn outline_area(&self, start: (i32, i32)) -> f64 {
        /// Anticlockwise on the screen, from the east.
        const STEPS: [(i32, i32); 8] = [
            (1, 0),
            (1, -1),
            (0, -1),
            (-1, -1),
            (-1, 0),
            (-1, 1),
            (0, 1),
            (1, 1),
        ];
        let step = |(x, y): (i32, i32), d: usize| (x + STEPS[d].0, y + STEPS[d].1);
        // West of the first pixel is clear: look round clockwise from there for the border's last pixel.
        let Some(back) = (1..8)
            .map(|k| (4 + 8 - k) % 8)
            .find(|&d| self.is_set(step(start, d)))
        else {
            return 0.0;
        };
        let last = step(start, back);
        let (mut at, mut came_from, mut doubled) = (start, back, 0i64);
        loop {
            let next = (1..=8)
                .map(|k| (came_from + k) % 8)
                .find(|&d| self.is_set(step(at, d)));
            let Some(next) = next else { return 0.0 };
            let to = step(at, next);
            doubled += i64::from(at.0) * i64::from(to.1) - i64::from(to.0) * i64::from(at.1);
            if to == start && at == last {
                return doubled.abs() as f64 / 2.0;
            }
            (at, came_from) = (to, (next + 4) % 8);
        }
    }
}

fn elongation(width: f64, height: f64) -> f64 {
    width.max(height) / width.min(height)
}

fn is_crack(contour: &Contour) -> bool {
    let [_, _, width, height] = contour.bounds;
    contour.area > LEAST_AREA && elongation(width as f64, height as f64) > LEAST_ELONGATION
}

#[cfg(test)]
impl CrackFinder {
    /// Every external contour, as `findContours` would give them.
    pub(super) fn contours(&mut self) -> Vec<Contour> {
        self.label();
        (0..self.runs.len())
            .filter(|&i| self.is_external(i))
            .map(|i| self.contour(i))
            .collect()
    }

    /// The dilated plane as 255 and 0.
    pub(super) fn plane(&self) -> Vec<u8> {
        let pixels = (0..self.height as i32).flat_map(|y| (0..self.width as i32).map(move |x| (x, y)));
        pixels.map(|p| if self.is_set(p) { 255 } else { 0 }).collect()
    }

    pub(super) fn cracks(&mut self) -> Vec<Contour> {
        self.contours().into_iter().filter(is_crack).collect()
    }
}
