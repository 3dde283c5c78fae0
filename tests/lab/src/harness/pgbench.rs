//! pgbench as a load, from inside a node, through the virtual address. It ends with each lost connection, and is started
//! again until it is told to stop.

use std::time::Duration;

use super::lab::Lab;
use crate::cluster::node_shell::{COMMAND_LIMIT, check_on, check_on_within, run_on, sql_on_within};
use crate::error::{Error, Result, unexpected};
use crate::plan::VIP;
use crate::wait::{self, Seen};

/// It takes about 15 MB for each 1 of the scale.
const FILL_LIMIT: Duration = Duration::from_secs(600);
const SUM_LIMIT: Duration = Duration::from_secs(120);
const LOAD_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(30);

/// While it is there, pgbench is started again. It is gone when the node has lost its power.
const GO_ON: &str = "/run/pgbench";

/// $1 is the program, $2 the connection. The rate leaves room for everything else on a small machine.
const LOOP: &str = "touch /run/pgbench
    while [ -e /run/pgbench ]; do
        \"$1\" --no-vacuum --client=4 --rate=200 --time=3600 \"$2\"
        sleep 0.2
    done";

/// What one transaction adds, it adds to all four tables.
const IS_CONSISTENT: &str = "select count(distinct total) = 1 from (
    select coalesce(sum(abalance), 0) as total from pgbench_accounts
    union all select coalesce(sum(tbalance), 0) from pgbench_tellers
    union all select coalesce(sum(bbalance), 0) from pgbench_branches
    union all select coalesce(sum(delta), 0) from pgbench_history) totals";

/// A pgbench that runs until it is stopped.
#[derive(Debug)]
pub(crate) struct Load {
    node: String,
}

impl Lab {
    /// Makes pgbench's tables anew, for that many times 100,000 accounts, and waits until the standbys have them.
    pub(crate) fn fill_pgbench(&self, scale: u32) -> Result<()> {
        let primary = self.primary()?;
        let (program, scale) = (self.pgbench(), format!("--scale={scale}"));
        let fill = ["runuser", "-u", "postgres", "--", &program, "--initialize", "--quiet", &scale];
        check_on_within(&primary, &fill, FILL_LIMIT)?;
        self.wait_until_all_caught_up()
    }

    /// Removes pgbench's tables.
    pub(crate) fn drop_pgbench(&self) -> Result<()> {
        let program = self.pgbench();
        let drop_tables = ["runuser", "-u", "postgres", "--", &program, "--initialize", "--init-steps=d"];
        check_on_within(&self.primary()?, &drop_tables, FILL_LIMIT).map(drop)
    }

    /// Runs pgbench on that node, which has to keep its power; its first transactions have been committed.
    pub(crate) fn pgbench_from(&self, node: &str) -> Result<Load> {
        let connection = format!(
            "host={VIP} user=postgres dbname=postgres connect_timeout=2 tcp_user_timeout=3000 keepalives_idle=2 \
             keepalives_interval=1 keepalives_count=3"
        );
        let detached = format!("setsid bash -c '{LOOP}' load \"$@\" >/var/log/pgbench.log 2>&1 </dev/null &");
        check_on(node, &["bash", "-c", &detached, "pgbench", &self.pgbench(), &connection])?;
        let load = Load { node: node.to_owned() };
        self.wait_for_transactions(1)?;
        Ok(load)
    }

    /// Waits until pgbench has committed that many transactions more.
    pub(crate) fn wait_for_transactions(&self, count: u64) -> Result<()> {
        let committed = || -> Result<u64> {
            let text = self.sql(&self.primary()?, "select count(*) from pgbench_history")?;
            text.parse().map_err(|_| Error::Unexpected(format!("'{text}' is no number of transactions")))
        };
        let wanted = committed()? + count;
        wait::until(&format!("{count} more transactions of pgbench"), LOAD_LIMIT, || {
            let there = committed()?;
            Ok(match there >= wanted {
                true => Seen::Yes(()),
                false => Seen::NotYet(format!("{there} of {wanted}")),
            })
        })
    }

    /// The sums of pgbench's tables agree on every node. Nothing may write meanwhile.
    pub(crate) fn assert_pgbench_is_consistent(&self) -> Result<()> {
        self.wait_until_all_caught_up()?;
        for node in self.nodes() {
            if sql_on_within(&node, IS_CONSISTENT, SUM_LIMIT)? != "t" {
                return unexpected(format!("the sums of pgbench's tables on {node} differ: a transaction was torn"));
            }
        }
        Ok(())
    }

    fn pgbench(&self) -> String {
        self.plan.bindir().join("pgbench").display().to_string()
    }
}

impl Load {
    /// Ends it, and waits until it has ended.
    pub(crate) fn stop(self) -> Result<()> {
        self.tell_to_end()?;
        wait::until_true(&format!("end of pgbench on {}", self.node), END_LIMIT, || {
            Ok(run_on(&self.node, &["pgrep", "-x", "pgbench"], COMMAND_LIMIT)?.code != 0)
        })
    }

    fn tell_to_end(&self) -> Result<()> {
        check_on(&self.node, &["rm", "--force", GO_ON])?;
        // It may have ended by itself.
        run_on(&self.node, &["pkill", "-x", "pgbench"], COMMAND_LIMIT).map(drop)
    }
}

impl Drop for Load {
    /// A scenario that failed leaves no load behind.
    fn drop(&mut self) {
        let _ = self.tell_to_end();
    }
}
