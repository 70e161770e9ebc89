//! `pitchfleet health`: one question to a probe, for health checks of images that have neither shell nor curl.

use std::io::{self, Write};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;

use super::http::reason;
use crate::exit::{Ending, Fatal};
use crate::path_key::printable;

/// Answers are a word or a small document; container engines keep no more.
const LONGEST_ANSWER: u64 = 4096;

const EXAMPLES: &str = "\
Examples:
  pitchfleet health http://127.0.0.1:8080/readyz     an API: are broker and bucket reached?
  pitchfleet health http://127.0.0.1:9464/livez      a worker with worker.metrics_listen: does it live?

The exit code is 0 for an answer with a status below 300, 6 for any other and for none.";

/// Ask a role how it is, as a container's health check.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to ask
    #[arg(value_name = "URL")]
    url: Uri,
    /// How long to wait for the answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let answer = ask(&args.url, Duration::from_secs(args.timeout))?;
    writeln!(io::stdout(), "{answer}")?;
    Ok(Ending::Done)
}

/// What it answers, on one line.
fn ask(url: &Uri, limit: Duration) -> Result<String, Fatal> {
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(Fatal::usage(format!(
            "`{url}` is no address to ask; http://HOST:PORT/readyz is"
        )));
    }
    let agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        // What is asked is this very container, whatever the proxy of its environment.
        .proxy(None)
        .timeout_global(Some(limit))
        .build()
        .new_agent();
    let silent = |error: ureq::Error| Fatal::server(format!("{url} does not answer: {}", reason(&error)));
    let mut response = agent.get(url).call().map_err(silent)?;
    let status = response.status();
    let body = response.body_mut().with_config().limit(LONGEST_ANSWER);
    let text = printable(body.read_to_string().unwrap_or_default().trim());
    if status.is_success() {
        Ok(text)
    } else {
        Err(Fatal::server(format!("{url} answers {status}: {text}")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// The address of somebody who answers one request like this.
    fn answering(answer: &'static str) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        format!("http://{address}/readyz").parse().unwrap()
    }

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn a_good_answer_is_shown() {
        let url = answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
        assert_eq!(ask(&url, LIMIT).unwrap(), "ok");
    }

    #[test]
    fn any_other_answer_is_a_fault_with_its_words() {
        for answer in [
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nno, y",
            "HTTP/1.1 302 Found\r\nlocation: /livez\r\ncontent-length: 5\r\n\r\nno, y",
        ] {
            let said = ask(&answering(answer), LIMIT).unwrap_err().to_string();
            assert!(said.ends_with(": no, y"), "{said}");
        }
    }

    #[test]
    fn nobody_is_a_fault() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{free}/livez").parse().unwrap();
        let said = ask(&url, LIMIT).unwrap_err().to_string();
        assert!(said.contains("does not answer"), "{said}");
    }

    #[test]
    fn what_is_no_address_is_the_command_lines_fault() {
        let error = ask(&"127.0.0.1:8080".parse().unwrap(), LIMIT).unwrap_err();
        assert!(error.to_string().contains("no address to ask"), "{error}");
    }
}
