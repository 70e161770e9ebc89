//! Exit codes, the one list of them, and the error that carries one out of a command.

use std::fmt;
use std::process::ExitCode;

use crate::client::Refusal;

/// Shown at the end of `pitchfleet --help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done (photos that failed are in the report)
  1    some photos failed, and --fail-on-error was given; or a check found a fault
  2    the command line cannot be used
  3    set-up: the models or the ONNX Runtime library are missing or do not fit
  4    nothing to analyse
  5    the output cannot be written (disk full, no permission)
  6    the server or the broker cannot be reached, or refuses
  70   the program failed
  130  interrupted; the same command again continues";

/// How a command ended, other than by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All of it.
    Done,
    /// Done, but something was found that the caller asked to be told of.
    Faults,
    /// There was nothing to do.
    Nothing,
    /// A signal ended it early.
    Interrupted,
}

impl Ending {
    /// The process's exit code.
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Faults => 1,
            Self::Nothing => 4,
            Self::Interrupted => 130,
        })
    }
}

/// What kind of fault ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Exit code 2.
    Usage,
    /// Exit code 3.
    SetUp,
    /// Exit code 5.
    Output,
    /// Exit code 6.
    Server,
}

/// An error with the exit code it deserves; an error without one counts as the program's own failure.
#[derive(Debug)]
pub(crate) struct Fatal {
    fault: Fault,
    message: String,
}

impl Fatal {
    /// The command line cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Fault::Usage, message)
    }

    /// Models or libraries are missing or do not fit.
    pub(crate) fn set_up(message: impl Into<String>) -> Self {
        Self::new(Fault::SetUp, message)
    }

    /// The output cannot be written.
    pub(crate) fn output(message: impl Into<String>) -> Self {
        Self::new(Fault::Output, message)
    }

    /// The server or the broker cannot be reached, or refuses.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(Fault::Server, message)
    }

    fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self {
            fault,
            message: message.into(),
        }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fatal {}

/// The exit code of an error: that of the outermost [`Fatal`] or [`Refusal`] in it, else 70.
pub(crate) fn code_of(error: &anyhow::Error) -> ExitCode {
    let fatal = error.downcast_ref::<Fatal>().map(|fatal| fatal.fault);
    let fault = fatal.or_else(|| error.downcast_ref::<Refusal>().map(Refusal::fault));
    ExitCode::from(match fault {
        Some(Fault::Usage) => 2,
        Some(Fault::SetUp) => 3,
        Some(Fault::Output) => 5,
        Some(Fault::Server) => 6,
        None => 70,
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn context_around_an_error_keeps_its_code() {
        let plain = Fatal::output("disk full").into();
        let wrapped = Err::<(), _>(Fatal::output("disk full"))
            .context("while writing")
            .unwrap_err();
        assert_eq!(
            format!("{:?}", code_of(&plain)),
            format!("{:?}", ExitCode::from(5))
        );
        assert_eq!(
            format!("{:?}", code_of(&wrapped)),
            format!("{:?}", ExitCode::from(5))
        );
    }

    #[test]
    fn an_error_of_no_kind_is_the_programs_own() {
        let error = anyhow::anyhow!("lost");
        assert_eq!(
            format!("{:?}", code_of(&error)),
            format!("{:?}", ExitCode::from(70))
        );
    }
}
