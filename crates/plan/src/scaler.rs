//! How many workers KEDA and the horizontal pod autoscaler want, look by look.
//!
//! After KEDA 2.20's scale handler (nothing to one, one to nothing) and Kubernetes' `autoscaling/v2` algorithm
//! (<https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>), with the chart's policies: every 15 s
//! twice as many or four more at most, at most half less a minute. Both are asked at every look here; in a cluster the
//! autoscaler has its own period of 15 s.

use std::collections::VecDeque;

use crate::pool::Scaling;

/// Seconds over which workers that were added count.
const UP_PERIOD: f64 = 15.0;
/// Seconds over which workers that were taken count.
const DOWN_PERIOD: f64 = 60.0;
/// A ratio of wanted to present this near to 1 changes nothing.
const TOLERANCE: f64 = 0.1;

#[derive(Debug)]
pub(crate) struct Scaler {
    settings: Scaling,
    /// When there was last more than the activation.
    last_active: Option<f64>,
    /// What was wanted, within the window of stabilisation.
    wanted: VecDeque<(f64, u32)>,
    /// What was added, within its period.
    added: VecDeque<(f64, u32)>,
    /// What was taken, within its period.
    taken: VecDeque<(f64, u32)>,
}

impl Scaler {
    pub(crate) fn new(settings: Scaling) -> Self {
        Self {
            settings,
            last_active: None,
            wanted: VecDeque::new(),
            added: VecDeque::new(),
            taken: VecDeque::new(),
        }
    }

    /// How many workers there are to be from `now` on, when `backlog` photos are waiting or in hand and `present`
    /// workers were wanted until now.
    pub(crate) fn look(&mut self, now: f64, backlog: u64, present: u32) -> u32 {
        let Scaling {
            min_replicas: min,
            max_replicas: max,
            ..
        } = self.settings;
        let active = backlog > self.settings.activation_photos;
        if active {
            self.last_active = Some(now);
        }
        if present == 0 {
            let first = if active { min.max(1) } else { min };
            return self.change(now, present, first.min(max));
        }
        let cooled = self
            .last_active
            .is_none_or(|at| now - at >= self.settings.cooldown);
        if !active && min == 0 && cooled {
            self.wanted.clear();
            return self.change(now, present, 0);
        }
        let wanted = self.wanted(backlog, present).clamp(min.max(1), max.max(1));
        let stable = self.stabilised(now, wanted, present);
        self.change(now, present, stable)
    }

    fn wanted(&self, backlog: u64, present: u32) -> u32 {
        let exact = backlog as f64 / self.settings.photos_per_replica;
        if (exact / f64::from(present) - 1.0).abs() <= TOLERANCE {
            return present;
        }
        exact.ceil() as u32
    }

    /// Fewer only when fewer were enough all the time; more and less no faster than the policies say.
    fn stabilised(&mut self, now: f64, wanted: u32, present: u32) -> u32 {
        forget(&mut self.wanted, now - self.settings.stabilization);
        self.wanted.push_back((now, wanted));
        let most = self
            .wanted
            .iter()
            .map(|&(_, wanted)| wanted)
            .max()
            .unwrap_or(wanted);
        let target = if wanted >= present {
            wanted
        } else {
            most.min(present)
        };
        if target > present {
            let before = present.saturating_sub(recent(&mut self.added, now - UP_PERIOD));
            target.min((before * 2).max(before + 4))
        } else {
            let before = present + recent(&mut self.taken, now - DOWN_PERIOD);
            target.max(before / 2)
        }
    }

    fn change(&mut self, now: f64, present: u32, next: u32) -> u32 {
        if next > present {
            self.added.push_back((now, next - present));
        } else if next < present {
            self.taken.push_back((now, present - next));
        }
        next
    }
}

fn forget(entries: &mut VecDeque<(f64, u32)>, until: f64) {
    while entries.front().is_some_and(|&(at, _)| at <= until) {
        entries.pop_front();
    }
}

fn recent(entries: &mut VecDeque<(f64, u32)>, since: f64) -> u32 {
    forget(entries, since);
    entries.iter().map(|&(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaling() -> Scaling {
        Scaling {
            min_replicas: 0,
            max_replicas: 20,
            photos_per_replica: 100.0,
            activation_photos: 0,
            polling: 15.0,
            cooldown: 300.0,
            stabilization: 120.0,
        }
    }

    /// Looks every 15 s at the backlogs; the numbers of workers.
    fn followed(settings: Scaling, backlogs: &[u64]) -> Vec<u32> {
        let mut scaler = Scaler::new(settings);
        let mut present = 0;
        let looks = backlogs.iter().enumerate().map(|(look, &backlog)| {
            present = scaler.look(look as f64 * 15.0, backlog, present);
            present
        });
        looks.collect()
    }

    #[test]
    fn many_come_in_steps_of_the_policies() {
        // One by KEDA; then four more; then twice as many; and no more than the backlog wants.
        assert_eq!(
            followed(scaling(), &[0, 1_800, 1_800, 1_800, 1_800]),
            [0, 1, 5, 10, 18]
        );
        let few = Scaling {
            max_replicas: 3,
            ..scaling()
        };
        assert_eq!(followed(few, &[1_800, 1_800, 1_800]), [1, 3, 3]);
    }

    #[test]
    fn fewer_go_after_the_window_and_at_most_half_a_minute() {
        let mut backlogs = vec![800, 800, 800];
        backlogs.extend([10; 14]);
        let seen = followed(scaling(), &backlogs);
        // 8 from the third look on (at 30 s). What is wanted is 1 from 45 s; the last 8 leaves the window at 150 s.
        assert_eq!(seen[2..10], [8; 8]);
        // Half in the first minute, half of that in the next.
        assert_eq!(seen[10..14], [4; 4]);
        assert_eq!(seen[14], 2);
    }

    #[test]
    fn none_are_left_when_the_cooldown_has_passed() {
        let mut backlogs = vec![50];
        backlogs.extend([0; 21]);
        let seen = followed(scaling(), &backlogs);
        assert_eq!(seen[..20], [1; 20], "up to 285 s");
        assert_eq!(seen[20..], [0, 0], "300 s after it was last active");
        let kept = Scaling {
            min_replicas: 2,
            ..scaling()
        };
        let seen = followed(kept, &backlogs);
        assert!(seen.iter().all(|&present| present == 2), "{seen:?}");
    }

    #[test]
    fn a_pool_sleeps_below_its_activation() {
        let sleepy = Scaling {
            activation_photos: 500,
            ..scaling()
        };
        assert_eq!(followed(sleepy, &[500, 500, 501, 501]), [0, 0, 1, 5]);
    }

    #[test]
    fn a_little_more_or_less_changes_nothing() {
        let seen = followed(scaling(), &[450, 450, 549, 451, 551]);
        assert_eq!(seen, [1, 5, 5, 5, 6]);
    }
}
