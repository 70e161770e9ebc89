//! `pitchfleet submit`: photos in, a batch on the fleet out.

mod photos;
mod remembered;
mod upload;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use engine::PrecisionChoice;
use fleet::api::{BatchStatus, NewBatch, NewSource};
use fleet::batch::BatchState;
use fleet::manifest::{BatchOptions, Precision};
use ulid::Ulid;

use self::photos::Photos;
use self::remembered::Remembered;
use self::upload::Uploaded;
use super::ServerArgs;
use super::follow::{Followed, follow};
use super::http::{Client, Patience};
use super::watch;
use crate::analyze::AnalysisArgs;
use crate::exit::{Ending, Fatal};
use crate::interrupt::Interrupt;

const EXAMPLES: &str = "\
Examples:
  pitchfleet submit photos/day-1                         upload a folder, then watch until it is done
  pitchfleet submit s3://match-photos/2026/lords/day-1/  photos that are in an allowed bucket already
  pitchfleet submit photos --name \"Lord's, day 1\" --overlays grass,cracks
  pitchfleet submit photos --detach                      do not wait; `pitchfleet watch last` comes back to it

Interrupted, the same command goes on where it stopped: the same photos with the same choices are the same
batch, and only what is missing is uploaded. --again makes a new batch of them.";

/// Hand photos to a fleet and watch until they are analysed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folders, files and globs to upload, or one s3://BUCKET/PREFIX
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A name for people: a match, a ground, a day
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Number format of the models: auto, fp32 or int8
    #[arg(long, default_value_t = PrecisionChoice::Auto, value_name = "FORMAT")]
    precision: PrecisionChoice,
    /// URL that is told when the batch is finished; the operator allows its host
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// End when the batch is submitted rather than when it is done
    #[arg(long)]
    detach: bool,
    /// Make a new batch even if these photos were submitted before
    #[arg(long)]
    again: bool,
    /// Photos uploaded at the same time
    #[arg(long, default_value = "8", value_name = "N")]
    parallel: NonZeroUsize,
    /// End with code 1 if a photo failed
    #[arg(long)]
    fail_on_error: bool,
    #[command(flatten)]
    analysis: AnalysisArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let client = args.server.client()?;
    let interrupt = Interrupt::install()?;
    let (batch, left_out) = match bucket_of(&args.paths)? {
        Some((bucket, prefix)) => {
            // What lies in a bucket may have changed: every command is a new batch.
            let key = Ulid::generate().to_string();
            let request = args.request(NewSource::Prefix { bucket, prefix });
            (create(&client, &request, &key)?, 0)
        }
        None => match upload(args, &client, &interrupt)? {
            Submitted::Batch { batch, left_out } => (*batch, left_out),
            Submitted::Nothing => return Ok(Ending::Nothing),
            Submitted::Interrupted => {
                eprintln!("pitchfleet: interrupted; the same command again continues");
                return Ok(Ending::Interrupted);
            }
        },
    };
    if args.detach {
        writeln!(io::stdout(), "{}", batch.id)?;
        eprintln!(
            "batch {}; `pitchfleet watch {}` shows how far it is",
            batch.id, batch.id
        );
        return Ok(if left_out > 0 {
            Ending::Faults
        } else {
            Ending::Done
        });
    }
    eprintln!("batch {}", batch.id);
    match follow(&client, batch.id, &interrupt)? {
        Followed::Done(status) => {
            let ending = watch::tell(&client, &status, args.fail_on_error)?;
            Ok(if left_out > 0 && ending == Ending::Done {
                Ending::Faults
            } else {
                ending
            })
        }
        Followed::Interrupted => {
            eprintln!(
                "pitchfleet: the batch goes on without this command; `pitchfleet watch {}` comes back to it",
                batch.id
            );
            Ok(Ending::Interrupted)
        }
    }
}

impl Args {
    fn request(&self, source: NewSource) -> NewBatch {
        NewBatch {
            name: self.name.clone(),
            source,
            options: BatchOptions {
                analysis: self.analysis.options(),
                precision: match self.precision {
                    PrecisionChoice::Auto => Precision::Auto,
                    PrecisionChoice::Fp32 => Precision::Fp32,
                    PrecisionChoice::Int8 => Precision::Int8,
                },
            },
            webhook: self.webhook.clone(),
        }
    }
}

fn create(client: &Client, request: &NewBatch, key: &str) -> Result<BatchStatus, Fatal> {
    let headers = [("idempotency-key", key)];
    let made: BatchStatus = client.post("/v1/batches", Some(request), &headers, Patience::Short)?;
    // A key that was used before is answered as it was then; the batch may be further by now.
    Ok(client.get(&format!("/v1/batches/{}", made.id), Patience::Short)?)
}

enum Submitted {
    Batch { batch: Box<BatchStatus>, left_out: u64 },
    Nothing,
    Interrupted,
}

fn upload(args: &Args, client: &Client, interrupt: &Interrupt) -> anyhow::Result<Submitted> {
    let photos = Photos::list(&args.paths)?;
    for (path, reason) in &photos.unreadable {
        eprintln!("pitchfleet: {path} is left out: {reason}");
    }
    if photos.list.is_empty() {
        eprintln!("pitchfleet: there are no photos to submit (jpg, png, webp, tiff and heic are photos)");
        return Ok(Submitted::Nothing);
    }
    let left_out = photos.unreadable.len() as u64;
    let request = args.request(NewSource::Upload);
    let mut key = photos.key(client.server(), &request);
    if args.again {
        key = format!("{}-{key}", Ulid::generate());
    }
    let batch = create(client, &request, &key)?;
    if batch.state != BatchState::Uploading {
        eprintln!("these photos were submitted before; --again makes a new batch of them");
        return Ok(Submitted::Batch {
            batch: Box::new(batch),
            left_out,
        });
    }
    let remembered = Remembered::open(&key, &batch);
    if remembered.count() > 0 {
        eprintln!(
            "{} of {} photos are uploaded already",
            remembered.count(),
            photos.list.len()
        );
    }
    match upload::all(
        client,
        batch.id,
        &photos.list,
        remembered,
        args.parallel,
        interrupt,
    )? {
        Uploaded::All(remembered) => {
            let path = format!("/v1/batches/{}/submit", batch.id);
            let nothing = None::<&()>;
            let batch: BatchStatus = client
                .post(&path, nothing, &[], Patience::Short)
                .map_err(Fatal::from)?;
            remembered.forget();
            Ok(Submitted::Batch {
                batch: Box::new(batch),
                left_out,
            })
        }
        Uploaded::Interrupted => Ok(Submitted::Interrupted),
    }
}

/// Bucket and prefix, where the paths are an S3 URL.
fn bucket_of(paths: &[PathBuf]) -> Result<Option<(String, String)>, Fatal> {
    let url = |path: &PathBuf| path.to_str()?.strip_prefix("s3://").map(str::to_owned);
    let Some(place) = paths.iter().find_map(url) else {
        return Ok(None);
    };
    if paths.len() > 1 {
        return Err(Fatal::usage(
            "one s3:// prefix is a batch of its own: name nothing beside it",
        ));
    }
    let (bucket, prefix) = place.split_once('/').unwrap_or((&place, ""));
    if bucket.is_empty() {
        return Err(Fatal::usage("s3:// needs a bucket: s3://BUCKET/PREFIX"));
    }
    Ok(Some((bucket.to_owned(), prefix.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_s3_url_is_bucket_and_prefix() {
        let of = |paths: &[&str]| bucket_of(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        let some = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(of(&["s3://b/a/b/"]).ok().unwrap(), some("b", "a/b/"));
        assert_eq!(of(&["s3://b"]).ok().unwrap(), some("b", ""));
        assert_eq!(of(&["photos", "more"]).ok().unwrap(), None);
        assert!(of(&["s3:///a"]).is_err());
        assert!(of(&["photos", "s3://b/a"]).is_err());
    }
}
