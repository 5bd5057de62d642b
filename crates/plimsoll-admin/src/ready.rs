//! `/ready`: whether requests can be served now.

use plimsoll::Health;

use crate::overview::{Overview, PoolView, Serving};

impl Overview {
    /// What it serves with.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub(crate) fn ready(&self) -> Result<&'static str, String> {
        match self.serving {
            Serving::Here => {}
            Serving::Elsewhere => return Ok("it stands by: another one serves"),
            Serving::Ending => return Err("it ends, and takes nothing new".into()),
        }
        let told = self.pools.iter().filter(|pool| !pool.leaves);
        let lacks: Vec<_> = told.filter_map(|pool| pool.lack(self.word)).collect();
        if lacks.is_empty() { Ok("it serves") } else { Err(lacks.join("; ")) }
    }
}

impl PoolView {
    /// Why it serves nothing, if so.
    fn lack(&self, word: &str) -> Option<String> {
        let told: Vec<_> = self.seen().filter(|worker| !worker.view.leaves).collect();
        let is = |health| move |stats: &plimsoll::WorkerStats| stats.health == health;
        let count = |of: &dyn Fn(&plimsoll::WorkerStats) -> bool| {
            told.iter().filter(|worker| of(worker.stats)).count()
        };
        if count(&|stats| stats.health == Health::Up && !stats.draining) > 0 {
            return None;
        }
        let whose = self.name.as_ref().map_or_else(String::new, |name| format!("pool {name}: "));
        let parts = [
            (count(&is(Health::Down)), "down"),
            (count(&is(Health::Starting)), "starting"),
            (count(&|stats| stats.health == Health::Up), "draining"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts.map(|(count, what)| format!("{count} {what}")).collect();
        let parts = if parts.is_empty() { "there is none".into() } else { parts.join(", ") };
        Some(format!("{whose}no {word} takes requests ({parts})"))
    }
}
