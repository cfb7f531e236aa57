//! Who could still commit a row: what the server says before and after rows are read.

use super::connection::Connection;
use super::error::Trouble;
use crate::sql_query::source::{ReadError, Reason};
use crate::sql_query::track::late::{Horizon, Scope};

/// Locks that who writes rows holds on its table from before it takes an id: those of `insert`, `update`, `delete`, `copy` and what is
/// stronger. Fast-path locks stand in `pg_locks` too.
const WRITERS: &str = "l.locktype = 'relation' and l.database = d.oid and l.mode in \
     ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')";

/// The lock that every transaction holds on itself. Autovacuum, which has no user, writes no rows.
const EVERYBODY: &str = "l.locktype = 'virtualxid' and exists \
     (select from pg_catalog.pg_stat_activity a where a.pid = l.pid and a.datid = d.oid and a.usesysid is not null)";

impl Connection {
    /// What the server says now. The snapshot is older than the list of locks: who ends in between has ended for both.
    pub(super) async fn horizon(&mut self, scope: Scope) -> Result<Horizon, Trouble> {
        let who = match scope {
            Scope::Writers => WRITERS,
            Scope::Everybody => EVERYBODY,
        };
        let sql = format!(
            "select pg_catalog.pg_snapshot_xmin(s), pg_catalog.pg_snapshot_xmax(s), pg_catalog.pg_is_in_recovery(), \
             (select pg_catalog.string_agg(distinct l.virtualtransaction, ' ') from pg_catalog.pg_locks l, pg_catalog.pg_database d \
             where d.datname = pg_catalog.current_database() and l.granted and l.pid is distinct from pg_catalog.pg_backend_pid() \
             and {who}) from pg_catalog.pg_current_snapshot() s"
        );
        let row = self.ask(&sql).await?;
        let [Some(xmin), Some(xmax), Some(replica), open] = row.as_slice() else { return Err(ODD) };
        if replica == "t" {
            let why = "late_commits: xmin cannot be kept on a replica, which does not know who writes; read from the primary, or use \
                       'overlap'";
            return Err(Trouble::Ours(ReadError::new(Reason::Statement, why), false));
        }
        let number = |text: &str| text.parse().map_err(|_| ODD);
        let open = open.iter().flat_map(|open| open.split(' ')).map(Into::into).collect();
        Ok(Horizon { xmin: number(xmin)?, xmax: number(xmax)?, open })
    }
}

const ODD: Trouble = Trouble::Protocol("an answer has other columns than were asked for");
