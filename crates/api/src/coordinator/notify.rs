//! Webhooks: one try of a delivery, and when the next one is due.

use fleet::job::Control;
use queue::{Delivery, Outcome};

use crate::shared::Shared;

/// What becomes of a notification.
pub(super) async fn handle(_shared: &Shared, _delivery: &Delivery, _control: &Control) -> Outcome {
    Outcome::Done
}
