//! Drives [`fleet::lifecycle`]: the engine is loaded when a photo needs it and ended when there is nothing to do.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::EngineError;
use fleet::lifecycle::{Action, Input, Machine, Order, Policy, State, UnloadReason, Waiting};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Longest wait for the broker to say what waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the driver does things with: engine and queue, or a test's.
pub(crate) trait Hands: Sync {
    /// Starts the engine.
    ///
    /// # Errors
    /// When it does not start.
    fn load(&self) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// Ends the engine; all its memory is back when this returns.
    fn unload(&self, reason: UnloadReason) -> impl Future<Output = ()> + Send;
    /// Opens the bundle that lies in its place now. The engine is not running.
    ///
    /// # Errors
    /// When it cannot be opened; the one before stays.
    fn reopen(&self) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// Whether the engine that was started is gone by itself.
    fn is_gone(&self) -> bool;
    /// What waits; `None` when nobody tells.
    fn waiting(&self) -> impl Future<Output = Option<Waiting>> + Send;
}

/// The models of one worker, as those see them who work with them.
#[derive(Debug)]
pub(crate) struct Models {
    machine: Mutex<Machine>,
    origin: Instant,
    standing: watch::Sender<Standing>,
    actions: mpsc::UnboundedSender<Action>,
}

/// What is to be done, in its order; for [`Models::drive`].
pub(crate) type Actions = mpsc::UnboundedReceiver<Action>;

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    state: State,
    /// The engine runs, even if it is to go when nothing is in hand.
    usable: bool,
    takes: bool,
    /// Loads that failed since the start.
    failed: u64,
    /// Why the last load failed, if it did.
    error: Option<EngineError>,
    /// Unloads since the start.
    unloaded: u64,
    /// Bundles opened since the start, or tried to, and why the last of them could not be.
    reopened: u64,
    unopened: Option<EngineError>,
    /// Orders since the start.
    orders: u64,
    /// When the machine is to be stepped at the latest.
    wake: Option<Duration>,
}

/// An order that was given, and how things stood then.
#[derive(Debug)]
pub(crate) struct Ordered {
    order: Order,
    before: Option<Standing>,
}

/// Whether nothing is left to be done of an order that was given when things stood as `before`.
fn is_settled(order: Order, before: &Standing, now: &Standing) -> bool {
    match order {
        Order::Warm { .. } => now.state == State::Warm || now.failed > before.failed,
        // They may have been loaded again since.
        Order::Unload | Order::Drain => now.state == State::Cold || now.unloaded > before.unloaded,
        Order::Reload => now.reopened > before.reopened && matches!(now.state, State::Cold | State::Warm),
    }
}

/// A photo in hand; the engine stays as long as this lives.
#[derive(Debug)]
pub(crate) struct InHand<'a>(&'a Models);

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.step(Input::Settled);
    }
}

impl Models {
    /// Nothing is loaded, and nothing is done before [`drive`](Self::drive).
    pub(crate) fn new(policy: Policy) -> (Self, Actions) {
        let (actions, receiver) = mpsc::unbounded_channel();
        let standing = Standing {
            state: State::Cold,
            usable: false,
            takes: true,
            failed: 0,
            error: None,
            unloaded: 0,
            reopened: 0,
            unopened: None,
            orders: 0,
            wake: None,
        };
        let models = Self {
            machine: Mutex::new(Machine::new(policy)),
            origin: Instant::now(),
            standing: watch::Sender::new(standing),
            actions,
        };
        (models, receiver)
    }

    /// A photo was taken.
    pub(crate) fn take(&self) -> InHand<'_> {
        self.step(Input::Taken);
        InHand(self)
    }

    /// Waits until the engine runs; whoever calls it has a photo in hand. Cancel-safe.
    ///
    /// # Errors
    /// When the load that it waited for failed.
    pub(crate) async fn needed(&self) -> Result<(), EngineError> {
        let mut standing = self.standing.subscribe();
        let failed = standing.borrow().failed;
        self.step(Input::Needed);
        self.loaded_since(&mut standing, failed).await
    }

    /// Waits until the engine runs for the first time, for a worker that preloads.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub(crate) async fn preloaded(&self) -> Result<(), EngineError> {
        self.loaded_since(&mut self.standing.subscribe(), 0).await
    }

    async fn loaded_since(
        &self,
        standing: &mut watch::Receiver<Standing>,
        failed: u64,
    ) -> Result<(), EngineError> {
        let news = |standing: &Standing| standing.usable || standing.failed > failed;
        match standing.wait_for(news).await {
            Ok(standing) => match &standing.error {
                Some(error) if !standing.usable => Err(error.clone()),
                _ => Ok(()),
            },
            // The sender is in `self`.
            Err(_) => Ok(()),
        }
    }

    /// Waits until photos may be taken, or until they may not. Cancel-safe.
    pub(crate) async fn takes(&self, wanted: bool) {
        let mut standing = self.standing.subscribe();
        // The sender is in `self`.
        let _ = standing.wait_for(|standing| standing.takes == wanted).await;
    }

    /// Waits until nothing is loaded while photos may be taken. Cancel-safe.
    pub(crate) async fn rest(&self) {
        let mut standing = self.standing.subscribe();
        // The sender is in `self`.
        let _ = standing
            .wait_for(|standing| standing.state == State::Cold && standing.takes)
            .await;
    }

    /// Whether an operator told the worker to take no more.
    pub(crate) fn is_held(&self) -> bool {
        self.machine().is_held()
    }

    /// Why the last load failed, if it did.
    pub(crate) fn trouble(&self) -> Option<EngineError> {
        self.standing.borrow().error.clone()
    }

    /// Where the models are.
    pub(crate) fn state(&self) -> State {
        self.standing.borrow().state
    }

    /// Seconds until the models go if no work is seen, negative when they should be gone; `None` while there is no such
    /// moment.
    pub(crate) fn unload_in(&self) -> Option<f64> {
        let at = self.machine().unload_at()?;
        Some(at.as_secs_f64() - self.origin.elapsed().as_secs_f64())
    }

    /// Does what an operator asks, once it can be done; [`obeyed`](Self::obeyed) waits for that.
    pub(crate) fn order(&self, order: Order) -> Ordered {
        let mut before = None;
        self.step_and(Input::Ordered(order), |standing| {
            standing.orders += 1;
            before = Some(standing.clone());
        });
        Ordered { order, before }
    }

    /// Waits until an order is carried out. Cancel-safe.
    ///
    /// # Errors
    /// Why it is not, in words.
    pub(crate) async fn obeyed(&self, ordered: &Ordered) -> Result<(), String> {
        let Some(before) = &ordered.before else {
            return Ok(());
        };
        let mut standing = self.standing.subscribe();
        let settled = |now: &Standing| is_settled(ordered.order, before, now) || now.orders != before.orders;
        let Ok(now) = standing.wait_for(settled).await else {
            // The sender is in `self`.
            return Ok(());
        };
        if !is_settled(ordered.order, before, &now) {
            return Err("another order came before this one was carried out".to_owned());
        }
        let failed = match &now.unopened {
            Some(error) if now.reopened > before.reopened => Some(error),
            _ => now.error.as_ref().filter(|_| now.failed > before.failed),
        };
        failed.map_or(Ok(()), |error| Err(error.to_string()))
    }

    /// Takes no more, and waits until nothing is in hand and the engine is gone.
    pub(crate) async fn farewell(&self) {
        self.step(Input::Shutdown);
        let mut standing = self.standing.subscribe();
        let _ = standing.wait_for(|standing| standing.state == State::Cold).await;
    }

    /// Does what the machine says. Never returns.
    pub(crate) async fn drive(&self, mut actions: Actions, hands: &impl Hands) {
        self.step(Input::Start);
        let mut standing = self.standing.subscribe();
        loop {
            let wake = standing.borrow_and_update().wake;
            let tick = async {
                match wake {
                    Some(wake) => sleep_until(self.origin + wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(action) = actions.recv() => self.carry_out(action, hands).await,
                () = tick => self.step(Input::Tick),
                _ = standing.changed() => {}
            }
        }
    }

    async fn carry_out(&self, action: Action, hands: &impl Hands) {
        match action {
            Action::Load => match hands.load().await {
                Ok(()) => self.step_and(Input::Loaded, |standing| standing.error = None),
                Err(error) => {
                    tracing::warn!(%error, "the models are not loaded");
                    self.step_and(Input::LoadFailed, |standing| {
                        standing.failed += 1;
                        standing.error = Some(error);
                    });
                }
            },
            Action::Unload(reason) => {
                hands.unload(reason).await;
                self.step_and(Input::Unloaded, |standing| standing.unloaded += 1);
            }
            Action::Reopen => {
                let unopened = hands.reopen().await.err();
                self.standing.send_modify(|standing| {
                    standing.reopened += 1;
                    standing.unopened = unopened;
                });
            }
            Action::Look(_) if hands.is_gone() => {
                tracing::warn!("the engine process is gone, with nothing in hand");
                self.step(Input::Ended);
            }
            Action::Look(id) => {
                let waiting = timeout(PATIENCE, hands.waiting()).await.ok().flatten();
                self.step(Input::Looked(id, waiting));
            }
        }
    }

    fn step(&self, input: Input) {
        self.step_and(input, |_| {});
    }

    fn step_and(&self, input: Input, note: impl FnOnce(&mut Standing)) {
        let mut machine = self.machine();
        let before = machine.state();
        let actions = machine.step(input, self.origin.elapsed());
        let state = machine.state();
        if state != before {
            tracing::info!(from = before.name(), to = state.name(), "models");
        }
        // Under the machine's lock, so that standings are published in the order of the steps.
        self.standing.send_if_modified(|standing| {
            let old = standing.clone();
            note(standing);
            standing.state = state;
            standing.usable = machine.is_usable();
            standing.takes = machine.takes();
            standing.wake = machine.wake();
            *standing != old
        });
        // After the standing, so that nothing is done that is not announced.
        for action in actions {
            // Nobody drives any more: the process is about to end, and its child with it.
            let _ = self.actions.send(action);
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // A step is complete before its guard goes.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
