//! `report.html`: what it says, that strangers' names stay text, and that it works in a browser from disk.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: what cannot be set up must fail"
)]

mod fixture;

use std::path::{Path, PathBuf};
use std::process::Command;

use report::{About, HtmlReport};
use scraper::{Html, Selector};

fn about() -> About {
    About {
        title: "Day 1 at the ground".to_owned(),
        batch: "01KB2Z3C9Q4T7V8W5X6Y0A1B2C".to_owned(),
        created_at: "14 June 2026, 18:02".to_owned(),
        program: "pitchfleet 0.1.0".to_owned(),
        bundle: "demo 1".to_owned(),
        bundle_note: "The demo models show the machinery; they are not a groundsman's opinion.".to_owned(),
        wall_seconds: Some(1.9),
        ..About::default()
    }
}

fn page(results: &[fleet::result::PhotoResult]) -> String {
    let mut page = HtmlReport::begin(Vec::new(), about(), &fixture::verdict(results)).unwrap();
    for result in results {
        page.add(result).unwrap();
    }
    String::from_utf8(page.finish().unwrap()).unwrap()
}

fn texts(html: &Html, selector: &str) -> Vec<String> {
    html.select(&Selector::parse(selector).unwrap())
        .map(|element| {
            element
                .text()
                .collect::<String>()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

fn attributes<'a>(html: &'a Html, selector: &str, name: &str) -> Vec<&'a str> {
    html.select(&Selector::parse(selector).unwrap())
        .filter_map(|element| element.attr(name))
        .collect()
}

#[test]
fn the_page_says_what_the_set_says() {
    let html = Html::parse_document(&page(&fixture::results()));
    assert_eq!(html.errors.len(), 0, "{:?}", html.errors);
    assert_eq!(texts(&html, "h1"), ["Day 1 at the ground"]);
    assert_eq!(texts(&html, ".verdict .class"), ["Spin"]);
    assert!(texts(&html, ".call")[0].contains("toss"));
    assert_eq!(texts(&html, "#groups tbody tr").len(), 2);
    assert_eq!(texts(&html, ".photo h3").len(), 20);
    assert_eq!(
        texts(&html, "#failures tbody td code"),
        ["truncated", "not_a_photo"]
    );
    let outliers = texts(&html, "#outliers tbody tr");
    assert!(outliers[0].starts_with("DSC_0420.JPG"), "{outliers:?}");
    assert!(texts(&html, "#p8 .flag").iter().any(|flag| flag.contains("14.2")));
    assert!(texts(&html, "#p5 .flag")[0].contains("No pitch detected"));
    assert!(texts(&html, "#provenance")[0].contains("CPUExecutionProvider, int8"));
    // Probabilities, classes, three timelines, four distributions.
    assert_eq!(texts(&html, ".chart figcaption").len(), 9);
}

#[test]
fn every_picture_has_words_and_a_link_into_the_batch() {
    let html = Html::parse_document(&page(&fixture::results()));
    let pictures = attributes(&html, "img", "src");
    assert_eq!(pictures.len(), 18);
    assert_eq!(pictures[0], "../overlays/00000000/box.jpg");
    assert!(attributes(&html, "img", "alt").iter().all(|alt| alt.len() > 10));
    assert!(
        attributes(&html, ".chart [role=img]", "aria-label")
            .iter()
            .all(|label| label.len() > 10)
    );
    for link in attributes(&html, "a", "href") {
        assert!(
            link.starts_with("../overlays/") || link.starts_with('#') || !link.contains('/'),
            "{link}"
        );
    }
    let ids = attributes(&html, "[id]", "id");
    for anchor in attributes(&html, "a[href^='#']", "href") {
        assert!(ids.contains(&&anchor[1..]), "{anchor} leads nowhere");
    }
}

#[test]
fn nothing_is_fetched_from_elsewhere() {
    let text = page(&fixture::results());
    let html = Html::parse_document(&text);
    assert_eq!(
        attributes(&html, "link, script[src], iframe, object, embed", "src").len(),
        0
    );
    assert!(!text.contains("url("));
    assert!(
        !text
            .replace("http://www.w3.org/2000/svg", "")
            .replace("http://example.com", "")
            .contains("://")
    );
}

#[test]
fn a_hostile_name_stays_text() {
    let mut results = fixture::results();
    let hostile = "\"><script>alert(1)</script>";
    results[0].group = Some(hostile.to_owned());
    results[0].worker.device = hostile.to_owned();
    results[0]
        .overlays
        .insert("box".to_owned(), format!("javascript:{hostile}"));
    if let Some(failure) = &mut results[18].failure {
        failure.code = hostile.to_owned();
        failure.message = hostile.to_owned();
    }
    let text = page(&results);
    let html = Html::parse_document(&text);
    assert_eq!(texts(&html, "#p3 h3"), [fixture::HOSTILE_NAME]);
    assert!(!text.contains("<img src=x"));
    assert_eq!(texts(&html, "script").len(), 1, "only the page's own script");
    for element in html.select(&Selector::parse("*").unwrap()) {
        assert!(element.value().attrs().all(|(name, _)| !name.starts_with("on")));
    }
    assert!(
        attributes(&html, "img", "src")
            .iter()
            .all(|src| src.starts_with("../"))
    );
}

#[test]
fn a_set_without_photos_or_analyses_has_a_page_too() {
    let html = Html::parse_document(&page(&[]));
    assert_eq!(texts(&html, ".verdict .class"), ["No verdict"]);
    let html = Html::parse_document(&page(&fixture::results()[18..]));
    assert_eq!(texts(&html, ".verdict .class"), ["No verdict"]);
    assert_eq!(texts(&html, "#failures tbody tr").len(), 2);
}

/// Counts what passes through.
#[derive(Default)]
struct Sink {
    bytes: usize,
    longest: usize,
}

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes += bytes.len();
        self.longest = self.longest.max(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn ten_thousand_photos_stream_through() {
    let results = fixture::results();
    let mut page = HtmlReport::begin(Sink::default(), about(), &fixture::verdict(&results)).unwrap();
    for index in 0..10_000 {
        let mut result = results[index % results.len()].clone();
        result.index = index as u64;
        page.add(&result).unwrap();
    }
    let sink = page.finish().unwrap();
    assert!(sink.bytes > 10_000_000);
    // Nothing is gathered up: each write is a small part of the page.
    assert!(sink.longest < 64 * 1024, "{}", sink.longest);
}

/// Writes a report with real pictures and gives the page's path. It stays in the target folder, to be looked at.
fn on_disk(name: &str, text: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pitch/tests/golden/surface");
    for result in fixture::results() {
        for key in result.overlays.values() {
            let to = folder.join(key);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(pictures.join(format!("{:02}.png", result.index)), to).unwrap();
        }
    }
    std::fs::create_dir_all(folder.join("report")).unwrap();
    let page = folder.join("report/report.html");
    std::fs::write(&page, text).unwrap();
    page
}

/// Opens the page in Chromium: what the document became, and what stood on the console.
fn in_chromium(page: &Path) -> (Html, Vec<String>) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
            // Tall enough that no picture is too far away to be loaded.
            "--window-size=1280,12000",
            "--virtual-time-budget=10000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("this test opens the report in Chromium: install the package `chromium` (Debian, Ubuntu)");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let console = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains(":CONSOLE"))
        .map(str::to_owned)
        .collect();
    (
        Html::parse_document(&String::from_utf8_lossy(&output.stdout)),
        console,
    )
}

#[test]
fn chromium_runs_the_script_and_reports_no_error() {
    let (html, console) = in_chromium(&on_disk("page", &page(&fixture::results())));
    assert_eq!(console, Vec::<String>::new());
    assert_eq!(texts(&html, "#controls output"), ["20 of 20"]);
    assert!(attributes(&html, "#controls", "hidden").is_empty());
}

/// Opens a copy of the page with `probe` run once everything is loaded. The page's policy runs no script but its own,
/// so the copy goes without.
fn probed(name: &str, probe: &str) -> (Html, Vec<String>) {
    let probe = format!("<script>addEventListener('load', () => {{ {probe} }});</script></body>");
    let text = page(&fixture::results());
    let hash = text
        .split("script-src '")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    let text = text
        .replacen(&format!("'{hash}'"), "'unsafe-inline'", 1)
        .replace("</body>", &probe);
    in_chromium(&on_disk(name, &text))
}

#[test]
fn chromium_loads_every_picture() {
    let (html, console) = probed(
        "page-with-picture-probe",
        "document.body.dataset.widths = Array.from(document.images, (image) => image.naturalWidth).join(' ');",
    );
    assert_eq!(console, Vec::<String>::new());
    let widths = attributes(&html, "body", "data-widths");
    let widths: Vec<u32> = widths[0].split(' ').map(|width| width.parse().unwrap()).collect();
    assert_eq!(widths.len(), 18);
    assert!(widths.iter().all(|&width| width > 0), "{widths:?}");
}

#[test]
fn chromium_filters_and_sorts() {
    let (html, console) = probed(
        "page-with-control-probe",
        "const choose = (name, value, kind) => { \
             const field = document.querySelector(`[name=${name}]`); \
             field.value = value; field.dispatchEvent(new Event(kind)); }; \
         choose('order', 'cracks down', 'change'); \
         choose('kind', 'failed', 'change'); \
         document.body.dataset.failed = document.querySelector('#controls output').value; \
         choose('kind', '', 'change'); \
         choose('text', 'SOUTH', 'input');",
    );
    assert_eq!(console, Vec::<String>::new());
    assert_eq!(attributes(&html, "body", "data-failed"), ["2 of 20"]);
    assert_eq!(texts(&html, "#controls output"), ["10 of 20"]);
    assert_eq!(
        attributes(&html, ".photo", "id")[0],
        "p8",
        "the most cracked photo comes first"
    );
    assert_eq!(attributes(&html, ".photo:not([hidden])", "id").len(), 10);
}
