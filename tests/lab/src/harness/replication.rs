//! What a scenario needs to make standbys lag, and to tell how far each node's WAL reaches.

use std::fs;
use std::time::Duration;

use super::history::Report;
use super::lab::{Lab, SCENARIO_CONF, brief};
use crate::cluster::node_shell::{check_on, sql_on};
use crate::cluster::state::RESOURCE;
use crate::error::{Doing, Error, Result, unexpected};
use crate::paths;
use crate::wait::{self, Seen};

const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);
const TURNOVER_LIMIT: Duration = Duration::from_secs(120);
const QUORUM_LIMIT: Duration = Duration::from_secs(90);
const NOTICE_LIMIT: Duration = Duration::from_secs(20);
const SERVER_LIMIT: Duration = Duration::from_secs(20);
/// A disk that stalls makes a client wait for a second or two (seen: 1.6 s), with nothing wrong in the cluster.
const STALL: Duration = Duration::from_secs(4);

impl Lab {
    // --- looking ---------------------------------------------------------------------------------------------------

    /// The timeline on which the primary writes.
    pub(crate) fn timeline(&self, primary: &str) -> Result<u64> {
        let name = sql_on(primary, "select substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)")?;
        u64::from_str_radix(&name, 16).map_err(|_| Error::Unexpected(format!("'{name}' is no timeline")))
    }

    /// Tells one server from the next on that node.
    pub(crate) fn server_of(&self, node: &str) -> Result<String> {
        sql_on(node, "select pg_postmaster_start_time() || ', recovering: ' || pg_is_in_recovery()")
    }

    /// The primary is what it was when [`Self::server_of`] was looked at, and its client has hardly waited.
    pub(crate) fn assert_undisturbed(&self, primary: &str, server: &str, report: &Report) -> Result<()> {
        report.assert_outage_below(STALL)?;
        self.assert_primary(primary)?;
        match self.server_of(primary)? {
            now if now == server => Ok(()),
            now => unexpected(format!("{primary} should have the server that started at {server}, has that of {now}")),
        }
    }

    /// What PostgreSQL has logged on that node since its data directory was made.
    pub(crate) fn server_log(&self, node: &str) -> Result<String> {
        let path = paths::data(node).join("log/postgresql.log");
        let text = fs::read(&path).doing(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    // --- waiting ---------------------------------------------------------------------------------------------------

    /// Waits until all standbys have flushed and replayed what the primary has written by now.
    pub(crate) fn wait_until_all_caught_up(&self) -> Result<()> {
        let primary = self.primary()?;
        let lsn = sql_on(&primary, "select pg_current_wal_flush_lsn()")?;
        let ask =
            format!("select count(*) from pg_stat_replication where replay_lsn >= '{lsn}' and flush_lsn >= '{lsn}'");
        let wanted = (self.nodes().len() - 1).to_string();
        wait::until("standbys that have replayed everything", CATCH_UP_LIMIT, || {
            let count = sql_on(&primary, &ask)?;
            Ok(match count == wanted {
                true => Seen::Yes(()),
                false => Seen::NotYet(format!("{count} of {wanted} have replayed {lsn}")),
            })
        })
    }

    /// Waits until a node was promoted after `timeline` was the primary's, wherever that is.
    pub(crate) fn wait_for_promotion_after(&self, timeline: u64) -> Result<String> {
        wait::until(&format!("a promotion after timeline {timeline}"), TURNOVER_LIMIT, || {
            let primary = self.primary()?;
            let now = self.timeline(&primary)?;
            Ok(match now > timeline {
                true => Seen::Yes(primary),
                false => Seen::NotYet(format!("{primary} writes on timeline {now}")),
            })
        })
    }

    /// Waits until the node knows that it is alone, and its instance is a standby there.
    pub(crate) fn wait_until_alone_as_standby(&self, node: &str) -> Result<()> {
        wait::until(&format!("{node} as a standby without quorum"), QUORUM_LIMIT, || {
            let state = self.state_seen_by(node)?;
            // The lost nodes, which nobody could fence, are still shown with what they ran.
            let shows = |nodes: &[String]| nodes.iter().any(|name| name == node);
            let demoted = !state.quorum && !shows(&state.promoted) && shows(&state.unpromoted);
            Ok(match demoted && sql_on(node, "select pg_is_in_recovery()")? == "t" {
                true => Seen::Yes(()),
                false => Seen::NotYet(brief(&state)),
            })
        })
    }

    // --- breaking --------------------------------------------------------------------------------------------------

    /// The standby's link to the primary fails, for replication only; the cluster goes on seeing the node.
    pub(crate) fn stop_receiving(&self, node: &str) -> Result<()> {
        // Of several hosts libpq takes the last.
        let present =
            sql_on(node, "select replace(setting, '''', '''''') from pg_settings where name = 'primary_conninfo'")?;
        let nowhere = format!("primary_conninfo = '{present} host=/nowhere'");
        let script = format!("printf '%s\\n' \"$1\" >> {SCENARIO_CONF}");
        check_on(node, &["bash", "-c", &script, "stop_receiving", &nowhere])?;
        self.reload(node)?;
        wait::until_true(&format!("end of the WAL receiver on {node}"), NOTICE_LIMIT, || {
            Ok(sql_on(node, "select count(*) from pg_stat_wal_receiver where status = 'streaming'")? == "0")
        })
    }

    pub(crate) fn receive_again(&self, node: &str) -> Result<()> {
        check_on(node, &["sed", "-i", "/^primary_conninfo/d", SCENARIO_CONF])?;
        self.reload(node)
    }

    /// All server processes but the postmaster start anew, as after the crash of one of them: what the WAL receiver
    /// knew is forgotten, and `pg_last_wal_receive_lsn()` is the start of a segment.
    pub(crate) fn restart_server_processes(&self, node: &str) -> Result<()> {
        let checkpointer = sql_on(node, "select pid from pg_stat_activity where backend_type = 'checkpointer'")?;
        check_on(node, &["kill", "-KILL", &checkpointer])?;
        wait::until_true(&format!("new server processes on {node}"), SERVER_LIMIT, || {
            let now = sql_on(node, "select pid from pg_stat_activity where backend_type = 'checkpointer'")?;
            Ok(!now.is_empty() && now != checkpointer)
        })
    }

    /// Gives a node a promotion score that the agent did not choose.
    pub(crate) fn set_score(&self, through: &str, node: &str, score: i64) -> Result<()> {
        let promotion = format!("--promotion={RESOURCE}");
        let update = format!("--update={score}");
        check_on(through, &["crm_attribute", &promotion, &update, "--node", node]).map(drop)
    }

    // --- judging ---------------------------------------------------------------------------------------------------

    /// Every standby streams from the primary's node by its name, and not from an address that moves.
    pub(crate) fn assert_all_follow(&self, primary: &str) -> Result<()> {
        let ask = "select sender_host from pg_stat_wal_receiver where status = 'streaming'";
        for node in self.nodes().iter().filter(|node| *node != primary) {
            let host = sql_on(node, ask)?;
            if host != primary {
                return unexpected(format!("{node} should stream from {primary}, it streams from '{host}'"));
            }
        }
        Ok(())
    }

    /// The server answers questions and refuses to write.
    pub(crate) fn assert_only_reads(&self, node: &str) -> Result<()> {
        number(&sql_on(node, "select count(*) from lab.rows")?)?;
        let insert = "insert into lab.rows(client, n) values (0, 0)";
        let tried = self.try_run(node, &["runuser", "-u", "postgres", "--", "psql", "-XAtqc", insert], SERVER_LIMIT)?;
        match tried.code != 0 && tried.stderr.contains("read-only transaction") {
            true => Ok(()),
            false => unexpected(format!("{node} should refuse a write as read-only: {} {}", tried.code, tried.stderr)),
        }
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| Error::Unexpected(format!("'{text}' is no number")))
}
