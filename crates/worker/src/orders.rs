//! What the fleet is told, by operators and coordinators, and what this worker answers.

use std::sync::Arc;

use fleet::event::{Answer, Event};
use fleet::job::Command;
use fleet::lifecycle::Order;
use queue::Fanout;
use tokio::task::JoinSet;

use crate::context::Context;
use crate::models::Ordered;

/// Does it, as long as the queue is there.
pub(crate) async fn heed(context: &Arc<Context>) {
    let Ok(mut commands) = context.queue.subscribe(Fanout::Fleet).await else {
        return;
    };
    // Ends with the worker, and with it whoever still waits to answer.
    let mut answering = JoinSet::new();
    while let Some(body) = commands.next().await {
        while answering.try_join_next().is_some() {}
        match serde_json::from_slice(&body) {
            Ok(Command::Cancel { tenant, batch }) => context.unwanted.add(tenant, batch),
            Ok(Command::Models { id, worker, order }) => {
                if worker.is_none_or(|worker| worker == context.config.id) {
                    tracing::info!(?order, id, "an operator's order");
                    if let Order::Warm { .. } = order {
                        context.engines.want(context.engines.own_choice());
                    }
                    // Here, so that orders are given as they came.
                    let given = context.models.order(order);
                    answering.spawn(obey(Arc::clone(context), id, order, given));
                }
            }
            Err(error) => tracing::debug!(%error, "a command that is not understood"),
        }
    }
}

async fn obey(context: Arc<Context>, id: String, order: Order, given: Ordered) {
    answer(&context, &id, Answer::Heard, String::new());
    let obeyed = context.models.obeyed(&given).await;
    match obeyed {
        Ok(()) => answer(&context, &id, Answer::Done, said(&context, order)),
        Err(why) => answer(&context, &id, Answer::Failed, why),
    }
}

/// What an operator may want to know besides.
fn said(context: &Context, order: Order) -> String {
    match order {
        Order::Reload => context.engines.bundle_digest(),
        Order::Warm { .. } => context.engines.stats().facts.map_or_else(String::new, |facts| {
            format!("{}, {}", facts.device, facts.execution_provider)
        }),
        Order::Unload | Order::Drain => context.receipts.last().map_or_else(String::new, |receipt| {
            format!(
                "{} MB before, {} MB after",
                receipt.before_bytes >> 20,
                receipt.after_bytes >> 20
            )
        }),
    }
}

fn answer(context: &Context, order: &str, answer: Answer, detail: String) {
    context.events.tell(Event::Answer {
        order: order.to_owned(),
        worker: context.config.id.clone(),
        answer,
        detail,
    });
}
