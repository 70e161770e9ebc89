//! The engine with the bundles and in the precisions that batches ask for; one of them is loaded at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::{Engine, EngineError, EngineFacts, EngineStats, PrecisionChoice};
use fleet::manifest::{BatchOptions, Precision};
use fleet::result::Digest;
use tokio::sync::{RwLock, RwLockReadGuard};

/// Bundles that are kept in mind after another took their place, for the batches that pinned them.
const PREDECESSORS: usize = 3;

/// The worker's engine, its twins at other precisions, and its predecessors with the bundles that lay in its place
/// before. Two engines at once would hold twice the memory, so a photo that needs another waits until what is with the
/// present one is done. Batches that insist on one are few.
#[derive(Debug)]
pub(crate) struct Engines {
    made: Mutex<Made>,
    /// The one that may be loaded.
    present: RwLock<Choice>,
    /// The one that the next load is for.
    wanted: Mutex<Choice>,
}

/// One of the engines.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Choice {
    /// Digest of its bundle.
    bundle: Arc<str>,
    precision: PrecisionChoice,
}

/// Every engine that was made.
#[derive(Debug)]
struct Made {
    own: Bundled,
    /// The newest first.
    predecessors: Vec<Bundled>,
    /// Those at another precision than the worker's own.
    twins: HashMap<Choice, Engine>,
    /// What ran when they were last loaded.
    facts: HashMap<Choice, Arc<EngineFacts>>,
    /// Loads, restarts and halved batches of those that are forgotten.
    past: (u64, u64, u64),
}

/// An engine at the worker's own precision.
#[derive(Clone, Debug)]
struct Bundled {
    engine: Engine,
    digest: Arc<str>,
}

impl Bundled {
    fn new(engine: Engine) -> Self {
        Self {
            digest: engine.bundle().digest().into(),
            engine,
        }
    }

    fn choice(&self) -> Choice {
        Choice {
            bundle: Arc::clone(&self.digest),
            precision: self.engine.config().precision,
        }
    }
}

/// The right to use one engine; the others are not loaded meanwhile.
#[derive(Debug)]
pub(crate) struct Present<'a> {
    /// The engine.
    pub(crate) engine: Engine,
    _turn: RwLockReadGuard<'a, Choice>,
}

impl Engines {
    pub(crate) fn new(own: Engine) -> Self {
        let own = Bundled::new(own);
        let choice = own.choice();
        Self {
            made: Mutex::new(Made {
                own,
                predecessors: Vec::new(),
                twins: HashMap::new(),
                facts: HashMap::new(),
                past: (0, 0, 0),
            }),
            present: RwLock::new(choice.clone()),
            wanted: Mutex::new(choice),
        }
    }

    /// The worker's own, at its own precision.
    pub(crate) fn own(&self) -> Engine {
        self.made().own.engine.clone()
    }

    /// Which one that is.
    pub(crate) fn own_choice(&self) -> Choice {
        self.made().own.choice()
    }

    /// Opens the bundle that lies in its place now; true if it is another. The one before stays in mind for the batches
    /// that pinned it. Nothing is loaded, and nobody has a photo in hand.
    ///
    /// # Errors
    /// When it cannot be opened; all stays as it was.
    pub(crate) fn reopen(&self) -> Result<bool, EngineError> {
        let next = Bundled::new(Engine::new(self.own().config().clone())?);
        let choice = next.choice();
        let mut made = self.made();
        // In the same digest there may be new file names: the newest engine is the one that finds them.
        let is_another = next.digest != made.own.digest;
        let before = std::mem::replace(&mut made.own, next);
        made.predecessors.insert(0, before);
        let mut known = vec![Arc::clone(&made.own.digest)];
        let mut kept = Vec::new();
        for predecessor in std::mem::take(&mut made.predecessors) {
            if known.contains(&predecessor.digest) || kept.len() == PREDECESSORS {
                made.forget(&predecessor);
            } else {
                known.push(Arc::clone(&predecessor.digest));
                kept.push(predecessor);
            }
        }
        made.predecessors = kept;
        drop(made);
        self.want(choice);
        Ok(is_another)
    }

    /// Digest of the worker's own bundle.
    pub(crate) fn bundle_digest(&self) -> String {
        self.made().own.digest.to_string()
    }

    /// The engine whose results are what a batch with `digest` pinned.
    ///
    /// # Errors
    /// When there is none, with why.
    pub(crate) fn choice(&self, digest: &Digest, options: &BatchOptions) -> Result<Choice, String> {
        let made = self.made();
        let mut all = std::iter::once(&made.own).chain(&made.predecessors);
        let Some(bundled) = all.find(|bundled| *bundled.digest == *digest.bundle) else {
            return Err(format!(
                "the batch wants bundle {}, this worker has {}",
                digest.bundle, made.own.digest
            ));
        };
        let ours = options.result_digest(&bundled.digest);
        if *digest != ours {
            return Err(format!(
                "the batch wants algorithm {} and options {}, this worker would make {} and {}",
                digest.algorithm, digest.options, ours.algorithm, ours.options
            ));
        }
        Ok(Choice {
            precision: match options.precision {
                Precision::Auto => bundled.engine.config().precision,
                Precision::Fp32 => PrecisionChoice::Fp32,
                Precision::Int8 => PrecisionChoice::Int8,
            },
            ..bundled.choice()
        })
    }

    /// Waits until `choice` is the present engine. It is loaded with its first photo. Cancel-safe.
    pub(crate) async fn present(&self, choice: &Choice) -> Present<'_> {
        let turn = self.present.read().await;
        let turn = if *turn == *choice {
            turn
        } else {
            drop(turn);
            let mut turn = self.present.write().await;
            if *turn != *choice {
                self.engine(&turn).stop().await;
                *turn = choice.clone();
            }
            turn.downgrade()
        };
        Present {
            engine: self.engine(choice),
            _turn: turn,
        }
    }

    /// What the next load is to be for.
    pub(crate) fn want(&self, choice: Choice) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = choice;
    }

    /// Loads what was last wanted.
    ///
    /// # Errors
    /// When it does not load.
    pub(crate) async fn load(&self) -> Result<(), EngineError> {
        let choice = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let facts = self.present(&choice).await.engine.load().await?;
        self.remember(&choice, &facts);
        Ok(())
    }

    /// What runs, or ran when it was last loaded; loads it when that was never.
    ///
    /// # Errors
    /// When it does not load.
    pub(crate) async fn facts(&self, choice: &Choice) -> Result<Arc<EngineFacts>, EngineError> {
        if let Some(facts) = self.last_facts(choice) {
            return Ok(facts);
        }
        let facts = self.present(choice).await.engine.load().await?;
        self.remember(choice, &facts);
        Ok(facts)
    }

    /// What ran when the engine was last loaded.
    pub(crate) fn last_facts(&self, choice: &Choice) -> Option<Arc<EngineFacts>> {
        self.made().facts.get(choice).cloned()
    }

    /// Keeps what turned out to run.
    pub(crate) fn remember(&self, choice: &Choice, facts: &Arc<EngineFacts>) {
        self.made().facts.insert(choice.clone(), Arc::clone(facts));
    }

    /// Finishes what is in hand and unloads.
    pub(crate) async fn stop(&self) {
        let choice = self.present.read().await.clone();
        self.engine(&choice).stop().await;
    }

    /// Of the engine that may be loaded, its counters added to those of the others.
    pub(crate) fn stats(&self) -> EngineStats {
        let made = self.made();
        let mut total = made.own.engine.stats();
        total.loads += made.past.0;
        total.restarts += made.past.1;
        total.batch_halvings += made.past.2;
        let predecessors = made.predecessors.iter().map(|before| &before.engine);
        for engine in made.twins.values().chain(predecessors) {
            let stats = engine.stats();
            total.loads += stats.loads;
            total.restarts += stats.restarts;
            total.batch_halvings += stats.batch_halvings;
            total.in_flight += stats.in_flight;
            total.memory_admitted = total.memory_admitted.saturating_add(stats.memory_admitted);
            total.waiting_for_memory += stats.waiting_for_memory;
            if stats.pid.is_some() {
                (total.pid, total.facts, total.last_load_ms) = (stats.pid, stats.facts, stats.last_load_ms);
            }
        }
        total
    }

    /// That of `choice`; the worker's own if the bundle was forgotten.
    fn engine(&self, choice: &Choice) -> Engine {
        let mut made = self.made();
        let mut all = std::iter::once(&made.own).chain(&made.predecessors);
        let bundled = all.find(|bundled| bundled.digest == choice.bundle);
        let base = bundled.unwrap_or(&made.own).engine.clone();
        if choice.precision == base.config().precision {
            return base;
        }
        let twin = made.twins.entry(choice.clone());
        twin.or_insert_with(|| base.at_precision(choice.precision))
            .clone()
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        // Each change is complete before its guard goes.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Made {
    /// Adds the counters of `gone` and its twins to the past.
    fn forget(&mut self, gone: &Bundled) {
        let twins = self
            .twins
            .extract_if(|choice, _| choice.bundle == gone.digest)
            .map(|(_, twin)| twin);
        let engines: Vec<_> = twins.chain([gone.engine.clone()]).collect();
        for stats in engines.iter().map(Engine::stats) {
            self.past.0 += stats.loads;
            self.past.1 += stats.restarts;
            self.past.2 += stats.batch_halvings;
        }
        self.facts.retain(|choice, _| choice.bundle != gone.digest);
    }
}
