//! Answers of workers to the orders that requests of this process gave.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fleet::event::{Answer, Event};
use tokio::sync::mpsc;

/// Answers to one order that wait to be read; a fleet gives two a worker.
const BACKLOG: usize = 4096;

/// The orders that wait for answers.
#[derive(Debug, Default)]
pub struct Orders {
    waiting: Mutex<HashMap<String, mpsc::Sender<Answered>>>,
}

/// What a worker answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) worker: String,
    pub(crate) answer: Answer,
    pub(crate) detail: String,
}

/// Answers to one order, until this is dropped.
#[derive(Debug)]
pub(crate) struct Answers<'a> {
    of: &'a Orders,
    id: String,
    answers: mpsc::Receiver<Answered>,
}

impl Orders {
    /// Listens to answers from now on; give the order afterwards.
    pub(crate) fn listen(&self, id: &str) -> Answers<'_> {
        let (sender, answers) = mpsc::channel(BACKLOG);
        self.waiting().insert(id.to_owned(), sender);
        Answers {
            of: self,
            id: id.to_owned(),
            answers,
        }
    }

    /// Takes in what was heard. Other events, and answers to what other processes ordered, are nothing.
    pub(crate) fn record(&self, event: &Event) {
        let Event::Answer {
            order,
            worker,
            answer,
            detail,
        } = event
        else {
            return;
        };
        if let Some(sender) = self.waiting().get(order) {
            // One that finds no room is as one that was never heard.
            let _ = sender.try_send(Answered {
                worker: worker.clone(),
                answer: *answer,
                detail: detail.clone(),
            });
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Answered>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers<'_> {
    /// The next one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Answered> {
        self.answers.recv().await
    }
}

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        self.of.waiting().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_go_to_who_gave_the_order() {
        let orders = Orders::default();
        let answer = |order: &str, worker: &str| Event::Answer {
            order: order.into(),
            worker: worker.into(),
            answer: Answer::Done,
            detail: String::new(),
        };
        let mut of_a = orders.listen("a");
        orders.record(&answer("b", "nobody waits"));
        orders.record(&answer("a", "w"));
        assert_eq!(of_a.next().await.unwrap().worker, "w");
        drop(of_a);
        orders.record(&answer("a", "too late"));
        assert!(orders.waiting().is_empty());
    }
}
