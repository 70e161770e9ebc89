//! Why a request was not answered as it was meant to, in words.

use std::time::Duration;

use fleet::api::Problem;
use thiserror::Error;
use ureq::http::StatusCode;

use crate::exit::{Fatal, Fault};
use crate::path_key::printable;

/// Longest wait that a server may ask for between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why a request was not answered as it was meant to.
#[derive(Clone, Debug, Error)]
pub(crate) enum Refusal {
    /// Nobody answered.
    #[error(
        "no pitchfleet server answers at {server} ({why}): start one with `pitchfleet up`, or name another with \
         --server or PITCHFLEET_SERVER"
    )]
    Unreachable {
        /// The address.
        server: String,
        /// What the network said.
        why: String,
    },
    /// The server said no, and why.
    #[error("{}", words(.problem))]
    Problem {
        /// Its words.
        problem: Box<Problem>,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// Whatever answered is no pitchfleet server.
    #[error(
        "what answers at {server} is no pitchfleet server, or a proxy in front of one ({status}): {text}"
    )]
    Foreign {
        /// The address.
        server: String,
        /// HTTP status.
        status: StatusCode,
        /// Begin of the answer.
        text: String,
    },
}

/// What went wrong, in the server's words.
pub(super) fn words(problem: &Problem) -> String {
    let mut text = printable(&problem.detail);
    if text.is_empty() {
        text = printable(&problem.title);
    }
    for error in &problem.errors {
        text.push_str(&format!(
            "\n  {}: {}",
            printable(&error.field),
            printable(&error.message)
        ));
    }
    if problem.status >= 500
        && let Some(id) = &problem.request_id
    {
        text.push_str(&format!(" (request {})", printable(id)));
    }
    text
}

impl Refusal {
    /// Whether the same request may be answered later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem { problem, .. } => problem.retryable || problem.status == 429,
            Self::Foreign { status, .. } => matches!(status.as_u16(), 429 | 502..=504),
        }
    }

    /// Whose fault it is: that of a request which cannot be granted as it stands is the command line's.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Problem { problem, .. }
                if matches!(problem.status, 400 | 404 | 405 | 409 | 410 | 413 | 422) =>
            {
                Fault::Usage
            }
            _ => Fault::Server,
        }
    }

    /// When to try again: what the server says, within reason, rather than what we would have.
    pub(super) fn wait(&self, ours: Option<Duration>) -> Option<Duration> {
        let theirs = match self {
            Self::Problem { after, .. } => *after,
            _ => None,
        };
        let ours = ours?;
        Some(theirs.map_or(ours, |theirs| theirs.max(ours).min(LONGEST_WAIT)))
    }
}

impl From<Refusal> for Fatal {
    fn from(refusal: Refusal) -> Self {
        match refusal.fault() {
            Fault::Usage => Self::usage(refusal.to_string()),
            _ => Self::server(refusal.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_its_detail_and_its_fields() {
        let problem = Problem {
            kind: "x".into(),
            title: "Invalid request".into(),
            status: 422,
            detail: "two fields are wrong".into(),
            code: "invalid".into(),
            retryable: false,
            errors: vec![fleet::api::FieldError {
                field: "/name".into(),
                message: "too\u{1b}long".into(),
            }],
            request_id: Some("r".into()),
        };
        let refusal = Refusal::Problem {
            problem: Box::new(problem),
            after: Some(Duration::from_secs(7)),
        };
        assert_eq!(
            refusal.to_string(),
            "two fields are wrong\n  /name: too\u{fffd}long"
        );
        assert!(!refusal.is_transient());
        let second = Duration::from_secs(1);
        assert_eq!(refusal.wait(Some(second)), Some(7 * second));
        assert_eq!(refusal.wait(None), None, "the tries are used up");
    }
}
