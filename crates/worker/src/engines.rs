//! The engine in the precisions that batches ask for; one of them is loaded at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::{Engine, EngineError, EngineFacts, EngineStats, PrecisionChoice};
use fleet::manifest::{BatchOptions, Precision};
use fleet::result::Digest;
use tokio::sync::{RwLock, RwLockReadGuard};

/// The worker's engine, and its twins at other precisions. Two engines at once would hold twice the memory, so a photo
/// that needs another waits until what is with the present one is done. Batches that insist on a precision are few.
#[derive(Debug)]
pub(crate) struct Engines {
    own: Engine,
    bundle_digest: String,
    twins: Mutex<HashMap<PrecisionChoice, Twin>>,
    /// The one that may be loaded.
    present: RwLock<PrecisionChoice>,
}

#[derive(Debug)]
struct Twin {
    engine: Engine,
    /// What ran last.
    facts: Option<Arc<EngineFacts>>,
}

/// The right to use one engine; the others are not loaded meanwhile.
#[derive(Debug)]
pub(crate) struct Present<'a> {
    /// The engine.
    pub(crate) engine: Engine,
    _turn: RwLockReadGuard<'a, PrecisionChoice>,
}

impl Engines {
    pub(crate) fn new(own: Engine) -> Self {
        let choice = own.config().precision;
        Self {
            bundle_digest: own.bundle().digest(),
            own,
            twins: Mutex::default(),
            present: RwLock::new(choice),
        }
    }

    /// The worker's own, at its own precision.
    pub(crate) fn own(&self) -> &Engine {
        &self.own
    }

    /// Digest of the bundle that all of them have.
    pub(crate) fn bundle_digest(&self) -> &str {
        &self.bundle_digest
    }

    /// Why the results of these engines would not be what a batch with `digest` pinned, if so.
    pub(crate) fn strange(&self, digest: &Digest, options: &BatchOptions) -> Option<String> {
        let ours = options.result_digest(&self.bundle_digest);
        if digest.bundle != ours.bundle {
            return Some(format!(
                "the batch wants bundle {}, this worker has {}",
                digest.bundle, ours.bundle
            ));
        }
        (*digest != ours).then(|| {
            format!(
                "the batch wants algorithm {} and options {}, this worker would make {} and {}",
                digest.algorithm, digest.options, ours.algorithm, ours.options
            )
        })
    }

    /// Which engine a batch with this wish needs.
    pub(crate) fn choice(&self, wish: Precision) -> PrecisionChoice {
        match wish {
            Precision::Auto => self.own.config().precision,
            Precision::Fp32 => PrecisionChoice::Fp32,
            Precision::Int8 => PrecisionChoice::Int8,
        }
    }

    /// Waits until `choice` is the present engine. It is loaded with its first photo. Cancel-safe.
    pub(crate) async fn present(&self, choice: PrecisionChoice) -> Present<'_> {
        let turn = self.present.read().await;
        let turn = if *turn == choice {
            turn
        } else {
            drop(turn);
            let mut turn = self.present.write().await;
            if *turn != choice {
                self.engine(*turn).stop().await;
                *turn = choice;
            }
            turn.downgrade()
        };
        Present {
            engine: self.engine(choice),
            _turn: turn,
        }
    }

    /// What runs, or ran when it was last loaded; loads it when that was never.
    ///
    /// # Errors
    /// When it does not load.
    pub(crate) async fn facts(&self, choice: PrecisionChoice) -> Result<Arc<EngineFacts>, EngineError> {
        if let Some(facts) = self.last_facts(choice) {
            return Ok(facts);
        }
        let facts = self.present(choice).await.engine.load().await?;
        self.remember(choice, &facts);
        Ok(facts)
    }

    /// What ran when the engine was last loaded.
    pub(crate) fn last_facts(&self, choice: PrecisionChoice) -> Option<Arc<EngineFacts>> {
        self.twins().get(&choice).and_then(|twin| twin.facts.clone())
    }

    /// Keeps what turned out to run.
    pub(crate) fn remember(&self, choice: PrecisionChoice, facts: &Arc<EngineFacts>) {
        let engine = self.engine(choice);
        let facts = Some(Arc::clone(facts));
        self.twins().insert(choice, Twin { engine, facts });
    }

    /// Finishes what is in hand and unloads.
    pub(crate) async fn stop(&self) {
        let choice = *self.present.read().await;
        self.engine(choice).stop().await;
    }

    /// Of the engine that may be loaded, its counters added to those of the others.
    pub(crate) fn stats(&self) -> EngineStats {
        let mut total = self.own.stats();
        let twins = self.twins();
        let others = twins
            .iter()
            .filter(|(choice, _)| **choice != self.own.config().precision);
        for (_, twin) in others {
            let stats = twin.engine.stats();
            total.loads += stats.loads;
            total.restarts += stats.restarts;
            total.in_flight += stats.in_flight;
            if stats.pid.is_some() {
                (total.pid, total.facts) = (stats.pid, stats.facts);
            }
        }
        total
    }

    fn engine(&self, choice: PrecisionChoice) -> Engine {
        if choice == self.own.config().precision {
            return self.own.clone();
        }
        let mut twins = self.twins();
        let twin = twins.entry(choice).or_insert_with(|| Twin {
            engine: self.own.at_precision(choice),
            facts: None,
        });
        twin.engine.clone()
    }

    fn twins(&self) -> MutexGuard<'_, HashMap<PrecisionChoice, Twin>> {
        // Each change is complete before its guard goes.
        self.twins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
