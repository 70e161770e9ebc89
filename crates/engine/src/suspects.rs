//! What becomes of a photo whose engine process died.
//!
//! A process that dies takes every photo in hand with it, and one of them may be the reason. The crash journal (each
//! lane says which photo it begins) tells who was in hand; those are tried once more, each alone in the process. The one
//! that kills it alone is the one; the others lose nothing. Photos that waited their turn are no suspects at all.

/// Times that a photo goes through losses that are not its own before it is given back as not analysed for now.
const PATIENCE: u32 = 8;

/// What a photo was doing when the process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Waiting, or being sent.
    Waiting,
    /// In the hands of a lane when the process crashed, or over its deadline when the process was ended for that.
    InHand,
    /// In the hands of a lane when the process was ended because of another photo's deadline.
    Bystander,
}

/// How a photo is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Company {
    /// Among others.
    #[default]
    Among,
    /// With nothing else in the process.
    Alone,
}

/// What comes next for a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another try, in the company that [`Suspicion::company`] says.
    Again,
    /// It is the one that kills the process.
    Guilty,
    /// The process keeps dying of something else.
    GiveUp,
}

/// What is known against one photo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspicion {
    company: Company,
    losses: u32,
}

impl Suspicion {
    /// How it is to be tried.
    pub(crate) fn company(self) -> Company {
        self.company
    }

    /// The process died; what now?
    pub(crate) fn after_loss(&mut self, part: Part) -> Next {
        if part == Part::InHand {
            if self.company == Company::Alone {
                return Next::Guilty;
            }
            self.company = Company::Alone;
            return Next::Again;
        }
        self.losses += 1;
        if self.losses >= PATIENCE {
            Next::GiveUp
        } else {
            Next::Again
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_is_guilty_only_of_what_it_does_alone() {
        use Part::{Bystander, InHand, Waiting};
        for (losses, next, company) in [
            (&[InHand][..], Next::Again, Company::Alone),
            (&[InHand, InHand], Next::Guilty, Company::Alone),
            (&[Waiting], Next::Again, Company::Among),
            (&[Bystander], Next::Again, Company::Among),
            (&[Waiting, Bystander, InHand], Next::Again, Company::Alone),
            (&[InHand, Waiting], Next::Again, Company::Alone),
            (&[InHand, Waiting, InHand], Next::Guilty, Company::Alone),
            (&[Waiting; 7], Next::Again, Company::Among),
            (&[Waiting; 8], Next::GiveUp, Company::Among),
        ] {
            let mut suspicion = Suspicion::default();
            let mut last = Next::Again;
            for &part in losses {
                assert_eq!(last, Next::Again, "{losses:?}");
                last = suspicion.after_loss(part);
            }
            assert_eq!((last, suspicion.company()), (next, company), "{losses:?}");
        }
    }
}
