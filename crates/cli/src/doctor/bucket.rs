//! Does the store take, give, list and delete objects? May clients upload to it directly, and does its clock agree?

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store::{Buckets, PresignedPut, Store, StoreError, StoreErrorKind};
use tokio::task::spawn_blocking;
use ulid::Ulid;
use ureq::http::{HeaderMap, Method, Request};

use super::finding::{Finding, chain};
use crate::roles::parts;
use crate::settings::{Settings, Span};

const WHAT: &str = "store";
const UPLOADS: &str = "uploads";
const CORS: &str = "cors";
const CLOCK: &str = "clock";
const SOURCES: &str = "sources";

/// A tenant's name has no such form, so that the probe is in nobody's way.
const FOLDER: &str = "pitchfleet-doctor";
const PROBE: &[u8] = b"Written by `pitchfleet doctor`, and deleted by it. If it is still here, delete it.\n";

/// S3 refuses requests that are signed 15 minutes from its own time.
const CLOCKS_FAR_APART: Duration = Duration::from_secs(15 * 60);
/// From here on somebody should look.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// `remote`: whether several machines are to use it.
pub(super) async fn check(settings: &Settings, remote: bool, limit: Duration) -> Vec<Finding> {
    let mut patient = settings.clone();
    // What is wrong is to be told, not waited out.
    patient.store.attempts = 1;
    patient.store.stall_timeout = Span(patient.store.stall_timeout.0.min(limit));
    let fallback = parts::default_folder();
    let buckets = match parts::buckets(&patient, (!remote).then_some(fallback.as_path())).await {
        Ok(buckets) => buckets,
        Err(error) => {
            return vec![
                Finding::fail(WHAT, error.to_string())
                    .with("`pitchfleet config --example` shows how the keys of [store] are written"),
            ];
        }
    };
    let home = Arc::clone(buckets.home());
    let key = format!("{FOLDER}/{}", Ulid::generate());
    let mut findings = vec![objects(settings, home.as_ref(), &key).await];
    if settings.store.bucket.is_some() {
        findings.extend(from_outside(settings, home.as_ref(), &key, limit).await);
    } else if remote {
        let folder = settings.store.folder.as_deref().unwrap_or(Path::new(""));
        findings.push(
            Finding::warn(
                WHAT,
                format!("the folder {} is the store of a fleet", folder.display()),
            )
            .with("every role must see the same folder; on more than one machine use a bucket: store.bucket"),
        );
    }
    findings.extend(sources(settings, &buckets).await);
    findings
}

/// One object through its whole life; each step on its own, so that every permission that lacks is named at once.
async fn objects(settings: &Settings, store: &dyn Store, key: &str) -> Finding {
    let mut troubles = Vec::new();
    match store.put(key, PROBE.into(), "text/plain").await {
        Ok(()) => match store.get(key).await {
            Ok(object) => match object.into_bytes().await {
                Ok(bytes) if bytes == PROBE => {}
                Ok(_) => {
                    return Finding::fail(WHAT, "what was read is not what was written a moment before").with(
                        "is there a proxy or a cache in front of the store? pitchfleet needs reads that see what was \
                         written",
                    );
                }
                Err(error) => {
                    return Finding::fail(WHAT, format!("reading broke off: {error}"))
                        .with("look at the network between here and the store, and at the store's log");
                }
            },
            Err(error) => troubles.push(error),
        },
        Err(error) => troubles.push(error),
    }
    // A server that is not there is asked no more: each question would take its time.
    let is_away = troubles
        .iter()
        .any(|error| error.kind == StoreErrorKind::Unavailable);
    if !is_away {
        match store.list(key, None, 1).await {
            Ok(page) if troubles.is_empty() && page.objects.is_empty() => {
                return Finding::fail(WHAT, "what was written is not in the listing right after").with(
                    "pitchfleet needs listings that are consistent, as those of AWS, Garage, MinIO, Ceph and R2 are",
                );
            }
            Ok(_) => {}
            Err(error) => troubles.push(error),
        }
        troubles.extend(store.delete(key).await.err());
    }
    match troubles.first() {
        None => Finding::ok(
            WHAT,
            format!("{} takes, gives, lists and deletes objects", place(settings)),
        ),
        Some(first) => {
            let all: Vec<_> = troubles.iter().map(|error| chain(error)).collect();
            Finding::fail(WHAT, format!("{}: {}", place(settings), all.join("; ")))
                .with(remedy(settings, first, &troubles))
        }
    }
}

fn place(settings: &Settings) -> String {
    let store = &settings.store;
    match (&store.bucket, &store.endpoint) {
        (Some(bucket), Some(endpoint)) => format!("the bucket {bucket} at {endpoint}"),
        (Some(bucket), None) => format!("the bucket {bucket} at AWS"),
        (None, _) => {
            let fallback = parts::default_folder();
            let folder = store.folder.as_deref().unwrap_or(&fallback);
            format!("the folder {}", folder.display())
        }
    }
}

fn remedy(settings: &Settings, first: &StoreError, all: &[StoreError]) -> String {
    let Some(bucket) = &settings.store.bucket else {
        return match first.kind {
            StoreErrorKind::Denied => "let the user that runs pitchfleet write in the folder".to_owned(),
            StoreErrorKind::Full => "make room on that file system".to_owned(),
            _ => "correct store.folder: it is to be a folder, or a place where one can be made".to_owned(),
        };
    };
    match first.kind {
        StoreErrorKind::NotFound => format!(
            "make the bucket {bucket}, or correct store.bucket, store.endpoint and store.region (and store.path_style)"
        ),
        StoreErrorKind::Denied => {
            let mut actions: Vec<_> = all.iter().map(|error| action(error.operation)).collect();
            actions.dedup();
            format!(
                "correct store.access_key, store.secret_key and store.region; or allow this key {} on {bucket}",
                actions.join(", ")
            )
        }
        StoreErrorKind::Full => "make room in the store, or raise the quota of the bucket".to_owned(),
        _ => "see that the store runs and that store.endpoint is its S3 address as this machine reaches it (inside a \
              container localhost is the container itself)"
            .to_owned(),
    }
}

/// What S3's policies call it.
fn action(operation: &str) -> &'static str {
    match operation {
        "read" | "look up" => "s3:GetObject",
        "list" => "s3:ListBucket",
        "delete" => "s3:DeleteObject",
        _ => "s3:PutObject",
    }
}

/// What clients and browsers meet: signed uploads, CORS, and the server's clock.
async fn from_outside(settings: &Settings, store: &dyn Store, key: &str, limit: Duration) -> Vec<Finding> {
    let signed = match store
        .presign_put(key, PROBE.len() as u64, Duration::from_secs(300))
        .await
    {
        Ok(signed) => signed,
        Err(error) => {
            return vec![Finding::fail(UPLOADS, chain(&error)).with(
                "set store.access_key and store.secret_key, or give this machine an identity that can sign",
            )];
        }
    };
    let origin = settings.api.public_url.clone();
    let url = signed.url.clone();
    let asked = spawn_blocking(move || Asked::all(&signed, origin.as_deref(), limit)).await;
    // Whatever came of it.
    let cleaned = store.delete(key).await;
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => {
            return vec![Finding::fail(UPLOADS, error.to_string()).with("please report this as a bug")];
        }
    };
    let mut findings = vec![uploads(&url, &asked.put)];
    findings.extend(asked.preflight.as_ref().map(|answer| cors(settings, answer)));
    let answers = [Some(&asked.put), asked.preflight.as_ref()].into_iter().flatten();
    findings.extend(
        answers
            .filter_map(|answer| answer.as_ref().ok())
            .map(clock)
            .next(),
    );
    if let (Ok(Answer { status: 200..300, .. }), Err(error)) = (&asked.put, cleaned) {
        findings.push(Finding::warn(WHAT, chain(&error)).with(format!("delete the object {key} by hand")));
    }
    findings
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    /// This machine's time, in the middle of the question.
    at: SystemTime,
}

struct Asked {
    put: Result<Answer, String>,
    /// `None` where no page of another origin is expected.
    preflight: Option<Result<Answer, String>>,
}

impl Asked {
    fn all(signed: &PresignedPut, origin: Option<&str>, limit: Duration) -> Self {
        let headers: Vec<_> = signed
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            // Set by whoever sends the request.
            .filter(|(name, _)| {
                !name.eq_ignore_ascii_case("host") && !name.eq_ignore_ascii_case("content-length")
            })
            .collect();
        let put = send(Method::PUT, &signed.url, &headers, PROBE, limit);
        let preflight = origin.map(|origin| {
            let headers = [
                ("origin", origin.trim_end_matches('/')),
                ("access-control-request-method", "PUT"),
                ("access-control-request-headers", "content-type"),
            ];
            send(Method::OPTIONS, &signed.url, &headers, &[], limit)
        });
        Self { put, preflight }
    }
}

fn send(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: &'static [u8],
    limit: Duration,
) -> Result<Answer, String> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(limit / 2))
        .build()
        .new_agent();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).map_err(|error| error.to_string())?;
    let before = SystemTime::now();
    let response = agent.run(request).map_err(|error| error.to_string())?;
    let taken = before.elapsed().unwrap_or_default();
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        at: before + taken / 2,
    })
}

/// `https://host:port`, without the signature.
fn base(url: &str) -> &str {
    let end = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
    url.get(..end).unwrap_or(url)
}

fn uploads(url: &str, put: &Result<Answer, String>) -> Finding {
    let base = base(url);
    match put {
        Ok(Answer { status: 200..300, .. }) => Finding::ok(UPLOADS, format!("{base} takes signed uploads")),
        Ok(answer) => Finding::fail(UPLOADS, format!("{base} answers a signed upload with {}", answer.status)).with(
            "store.public_endpoint must lead to the same S3 server with its `Host` unchanged; look at proxies in \
             between, and at the clock",
        ),
        Err(error) => Finding::warn(UPLOADS, format!("{base} cannot be reached from here: {error}")).with(
            "clients upload there: see that store.public_endpoint (or store.endpoint) is an address that they reach",
        ),
    }
}

fn cors(settings: &Settings, answer: &Result<Answer, String>) -> Finding {
    let origin = settings.api.public_url.as_deref().unwrap_or_default();
    let header = |name: &str, answer: &Answer| {
        let value = answer.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let remedy = format!(
        "give the bucket a CORS rule with AllowedOrigins {}, AllowedMethods PUT and AllowedHeaders *",
        origin.trim_end_matches('/')
    );
    match answer {
        Ok(answer) => {
            let allowed = header("access-control-allow-origin", answer);
            let good = matches!(answer.status, 200..300)
                && allowed.is_some_and(|allowed| allowed == "*" || allowed == origin.trim_end_matches('/'))
                && header("access-control-allow-methods", answer).is_none_or(|methods| {
                    methods
                        .split(',')
                        .any(|method| matches!(method.trim(), "PUT" | "*"))
                });
            if good {
                Finding::ok(CORS, format!("pages of {origin} may upload"))
            } else {
                Finding::warn(
                    CORS,
                    format!("pages of {origin} may not upload ({})", answer.status),
                )
                .with(remedy)
            }
        }
        Err(error) => Finding::warn(CORS, format!("not known: {error}")).with(remedy),
    }
}

fn clock(answer: &Answer) -> Finding {
    let date = answer.headers.get("date").and_then(|date| date.to_str().ok());
    let parsed = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let seconds = parsed.and_then(|date| u64::try_from(date.timestamp().as_second()).ok());
    let Some(theirs) = seconds.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)) else {
        return Finding::ok(CLOCK, "the store does not say what time it is");
    };
    let (apart, ahead) = match theirs.duration_since(answer.at) {
        Ok(ahead) => (ahead, "behind"),
        Err(error) => (error.duration(), "ahead of"),
    };
    let seconds = apart.as_secs();
    let found = format!("this machine's clock is {seconds} s {ahead} the store's");
    let remedy = "set the clocks by NTP (`timedatectl set-ntp true`, chrony): S3 refuses what is signed 15 minutes off";
    if apart >= CLOCKS_FAR_APART {
        Finding::fail(CLOCK, found).with(remedy)
    } else if apart >= CLOCKS_APART {
        Finding::warn(CLOCK, found).with(remedy)
    } else {
        Finding::ok(CLOCK, "this machine's clock and the store's agree")
    }
}

/// Places that photos may be imported from need only be read.
async fn sources(settings: &Settings, buckets: &Buckets) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &settings.sources {
        let Some(store) = buckets.of(Some(&source.bucket)) else {
            continue;
        };
        findings.push(match store.list(&source.prefix, None, 1).await {
            Ok(page) if page.objects.is_empty() => Finding::warn(
                SOURCES,
                format!("nothing lies below `{}` of {}", source.prefix, source.bucket),
            )
            .with("fine if the photos are still to come; else correct `prefix` of that [[sources]]"),
            Ok(_) => Finding::ok(SOURCES, format!("{} can be listed", source.bucket)),
            Err(error) => Finding::fail(SOURCES, format!("{}: {}", source.bucket, chain(&error)))
                .with("correct that [[sources]]; its key needs s3:ListBucket and s3:GetObject there"),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        Answer {
            status,
            headers,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480),
        }
    }

    #[test]
    fn clocks_that_differ_are_told_of() {
        // 1445412480 is 2015-10-21 07:28:00 UTC, RFC 9110's own example of a Date.
        for (date, level, words) in [
            ("Wed, 21 Oct 2015 07:28:00 GMT", Level::Ok, "agree"),
            ("Wed, 21 Oct 2015 07:30:00 GMT", Level::Warn, "120 s behind"),
            ("Wed, 21 Oct 2015 07:08:00 GMT", Level::Fail, "1200 s ahead of"),
            ("yesterday", Level::Ok, "does not say"),
        ] {
            let found = clock(&answer(200, &[("date", date)]));
            assert_eq!(found.level, level, "{date}");
            assert!(found.found.contains(words), "{found:?}");
        }
    }

    #[test]
    fn a_bucket_without_a_rule_for_our_pages_is_told_of() {
        let mut settings = Settings::default();
        settings.api.public_url = Some("https://pitch.example.org/".into());
        let (origin, methods) = ("access-control-allow-origin", "access-control-allow-methods");
        for (answer, level) in [
            (
                answer(
                    200,
                    &[(origin, "https://pitch.example.org"), (methods, "GET, PUT")],
                ),
                Level::Ok,
            ),
            (answer(204, &[(origin, "*")]), Level::Ok),
            (answer(200, &[(origin, "*"), (methods, "GET")]), Level::Warn),
            (answer(200, &[(origin, "https://other.example.org")]), Level::Warn),
            (answer(403, &[]), Level::Warn),
        ] {
            assert_eq!(cors(&settings, &Ok(answer)).level, level);
        }
        assert_eq!(cors(&settings, &Err("refused".into())).level, Level::Warn);
    }

    #[test]
    fn signatures_are_not_shown() {
        assert_eq!(
            base("https://s3.example.org/b/k?X-Amz-Signature=1"),
            "https://s3.example.org"
        );
        assert_eq!(base("http://h:1"), "http://h:1");
    }
}
