//! The key store on PostgreSQL: the schema `uzima_keys`, over a connection of its own, so that keys are durable before
//! the transactions that use them and read while others run.

use super::{
    Erasure, Kept, Place, SHARED, TENANT_KEYS_MAX, Tenant, unwrap, unwrap_tenant, wrap, wrap_tenant,
};
use crate::engine::Target;
use crate::{Error, Result, Secret32};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use postgres::{Client, Row};
use std::sync::Arc;

/// Where other servers hear which keys were destroyed: numbers with commas between.
pub(crate) const CHANNEL: &str = "uzima_keys";
/// Neighbours that are read along: patients who come together are asked for together.
const NEIGHBOURS: i64 = 32;
/// Rows of one statement when all are read or written.
const AT_ONCE: i64 = 1000;

const SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS uzima_keys;
CREATE TABLE IF NOT EXISTS uzima_keys.store (one SMALLINT PRIMARY KEY CHECK (one = 1), id BYTEA NOT NULL, changes BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS uzima_keys.tenant_key (generation INTEGER PRIMARY KEY, sealed BYTEA NOT NULL);
CREATE TABLE IF NOT EXISTS uzima_keys.data_key (
  id BIGINT PRIMARY KEY, generation INTEGER NOT NULL, sealed BYTEA, mark BYTEA, destroyed_us BIGINT);
CREATE INDEX IF NOT EXISTS data_key_destroyed ON uzima_keys.data_key (id) WHERE destroyed_us IS NOT NULL;
CREATE SEQUENCE IF NOT EXISTS uzima_keys.data_key_number MINVALUE 1;";
/// Servers that start or rotate at once take turns.
const TURN: &str = "SELECT pg_advisory_xact_lock(7315)";

pub(super) struct KeyTable {
    target: Target,
    files: Secret32,
    client: Mutex<Option<Client>>,
    known: RwLock<Arc<Known>>,
}

struct Known {
    id: [u8; 16],
    tenants: Vec<Tenant>,
}

impl Known {
    fn newest(&self) -> Result<&Tenant> {
        let newest = self.tenants.iter().max_by_key(|tenant| tenant.generation);
        newest.ok_or_else(|| Error::Corrupt("the key store has no tenant key".into()))
    }
}

fn read_known(client: &mut Client, files: &Secret32) -> Result<Known> {
    let row = client.query_one("SELECT id FROM uzima_keys.store", &[])?;
    let id: [u8; 16] =
        row.try_get::<_, Vec<u8>>(0)?.try_into().map_err(|_| Error::Corrupt("key store".into()))?;
    let mut tenants = Vec::new();
    for row in client.query("SELECT generation, sealed FROM uzima_keys.tenant_key", &[])? {
        let (generation, sealed): (i32, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        tenants.push(unwrap_tenant(&id, files, generation as u32, &sealed)?);
    }
    Ok(Known { id, tenants })
}

fn erasure(row: &Row) -> Result<Erasure> {
    let mark = row.try_get::<_, Vec<u8>>(1)?.try_into().map_err(|_| Error::Corrupt("erasure".into()))?;
    let at = Timestamp::from_microsecond(row.try_get(2)?).map_err(|_| Error::Corrupt("erasure".into()))?;
    Ok(Erasure { key: row.try_get::<_, i64>(0)? as u64, mark, at })
}

impl KeyTable {
    /// Opens it, and makes it if it is not there. Errors: [Error::WrongKey].
    pub fn open(target: &Target, files: &Secret32) -> Result<KeyTable> {
        let mut client = connect(target)?;
        // Looked at first: a role may be allowed to use it and not to make it.
        let there = client.query_opt(
            "SELECT 1 FROM pg_tables WHERE schemaname = 'uzima_keys' AND tablename = 'data_key'",
            &[],
        )?;
        let mut turn = client.transaction()?;
        turn.execute(TURN, &[])?;
        if there.is_none() {
            turn.batch_execute(SCHEMA)?;
        }
        if turn.query_opt("SELECT 1 FROM uzima_keys.store", &[])?.is_none() {
            let mut id = [0; 16];
            getrandom::fill(&mut id).map_err(|e| Error::Database(e.to_string()))?;
            let tenant = Tenant { generation: 1, key: Secret32::random()? };
            turn.execute(
                "INSERT INTO uzima_keys.store (one, id, changes) VALUES (1, $1, 1)",
                &[&id.as_slice()],
            )?;
            turn.execute(
                "INSERT INTO uzima_keys.tenant_key (generation, sealed) VALUES (1, $1)",
                &[&wrap_tenant(&id, files, &tenant)?],
            )?;
            turn.execute(
                "INSERT INTO uzima_keys.data_key (id, generation, sealed) VALUES (0, 1, $1)",
                &[&wrap(&id, SHARED, &tenant, &Secret32::random()?)?],
            )?;
        }
        turn.commit()?;
        let known = read_known(&mut client, files)?;
        Ok(KeyTable {
            target: target.clone(),
            files: files.clone(),
            client: Mutex::new(Some(client)),
            known: RwLock::new(Arc::new(known)),
        })
    }

    fn with<R>(&self, mut work: impl FnMut(&mut Client) -> Result<R>) -> Result<R> {
        let mut slot = self.client.lock();
        let was_there = slot.as_ref().is_some_and(|client| !client.is_closed());
        if !was_there {
            *slot = Some(connect(&self.target)?);
        }
        let Some(client) = slot.as_mut() else { return Err(Error::Busy) };
        let done = work(client);
        if done.is_err() && client.is_closed() {
            *slot = None;
            // The server was restarted since we last asked.
            if was_there {
                return work(slot.insert(connect(&self.target)?));
            }
        }
        done
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().clone()
    }

    /// What the tables say now: another server may have rotated.
    fn look_again(&self, client: &mut Client) -> Result<Arc<Known>> {
        let mut known = read_known(client, &self.files)?;
        // Rows that were read before a rotation still need the former one.
        for tenant in &self.known().tenants {
            let is_there = known.tenants.iter().any(|there| there.generation == tenant.generation);
            if !is_there && known.tenants.len() < TENANT_KEYS_MAX {
                known.tenants.push(Tenant { generation: tenant.generation, key: tenant.key.clone() });
            }
        }
        let known = Arc::new(known);
        *self.known.write() = known.clone();
        Ok(known)
    }

    fn key(&self, client: &mut Client, number: u64, generation: i32, sealed: &[u8]) -> Result<Secret32> {
        let mut known = self.known();
        if !known.tenants.iter().any(|tenant| tenant.generation == generation as u32) {
            known = self.look_again(client)?;
        }
        let tenant = known.tenants.iter().find(|tenant| tenant.generation == generation as u32);
        let tenant = tenant.ok_or_else(|| Error::Corrupt(format!("tenant key {generation}")))?;
        unwrap(&known.id, number, tenant, sealed)
    }
}

impl Drop for KeyTable {
    fn drop(&mut self) {
        // The client says good-bye over its own runtime, which panics on a thread that drives another.
        let client = self.client.lock().take();
        let bye = std::thread::Builder::new().spawn(move || drop(client));
        drop(bye.map(std::thread::JoinHandle::join));
    }
}

fn connect(target: &Target) -> Result<Client> {
    let mut client = target.connect()?;
    // Whatever the server's default is: what is sealed under a key must not outlive it.
    client.batch_execute("SET synchronous_commit = on")?;
    Ok(client)
}

fn changed(client: &mut postgres::Transaction<'_>) -> Result<()> {
    client.execute("UPDATE uzima_keys.store SET changes = changes + 1", &[])?;
    Ok(())
}

impl Place for KeyTable {
    fn id(&self) -> [u8; 16] {
        self.known().id
    }

    fn read(&self, key: u64) -> Result<Vec<(u64, Secret32)>> {
        let first = key as i64 - key as i64 % NEIGHBOURS;
        self.with(|client| {
            let rows = client.query(
                "SELECT id, generation, sealed FROM uzima_keys.data_key WHERE id >= $1 AND id < $2",
                &[&first, &(first + NEIGHBOURS)],
            )?;
            let (mut found, mut is_there) = (Vec::new(), false);
            for row in rows {
                let number = row.try_get::<_, i64>(0)? as u64;
                is_there |= number == key;
                if let Some(sealed) = row.try_get::<_, Option<&[u8]>>(2)? {
                    found.push((number, self.key(client, number, row.try_get(1)?, sealed)?));
                }
            }
            if is_there { Ok(found) } else { Err(Error::KeysMissing(format!("data key {key} is not there"))) }
        })
    }

    fn make(&self, count: u64) -> Result<Vec<u64>> {
        self.with(|client| {
            let mut turn = client.transaction()?;
            // A rotation that runs must not miss them.
            turn.execute("SELECT pg_advisory_xact_lock_shared(7315)", &[])?;
            let rows = turn.query(
                "SELECT nextval('uzima_keys.data_key_number') FROM generate_series(1, $1::BIGINT)",
                &[&(count as i64)],
            )?;
            let numbers = rows.iter().map(|row| Ok(row.try_get::<_, i64>(0)?)).collect::<Result<Vec<i64>>>()?;
            let newest: i32 = turn.query_one("SELECT max(generation) FROM uzima_keys.tenant_key", &[])?.try_get(0)?;
            let mut known = self.known();
            if known.newest()?.generation != newest as u32 {
                let sealed: Vec<u8> = turn
                    .query_one("SELECT sealed FROM uzima_keys.tenant_key WHERE generation = $1", &[&newest])?
                    .try_get(0)?;
                let tenant = unwrap_tenant(&known.id, &self.files, newest as u32, &sealed)?;
                known = Arc::new(Known { id: known.id, tenants: vec![tenant] });
            }
            let sealed = numbers
                .iter()
                .map(|number| wrap(&known.id, *number as u64, known.newest()?, &Secret32::random()?))
                .collect::<Result<Vec<_>>>()?;
            turn.execute(
                "INSERT INTO uzima_keys.data_key (id, generation, sealed) SELECT i, $3, s FROM unnest($1::BIGINT[], $2::BYTEA[]) AS t (i, s)",
                &[&numbers, &sealed, &newest],
            )?;
            changed(&mut turn)?;
            turn.commit()?;
            Ok(numbers.into_iter().map(|number| number as u64).collect())
        })
    }

    fn destroy(&self, keys: &[Erasure]) -> Result<()> {
        self.with(|client| {
            let mut turn = client.transaction()?;
            turn.execute("SELECT pg_advisory_xact_lock_shared(7315)", &[])?;
            let mut gone = Vec::new();
            for erasure in keys {
                let done = turn.execute(
                    "UPDATE uzima_keys.data_key SET generation = 0, sealed = NULL, mark = $2, destroyed_us = $3 \
                     WHERE id = $1 AND destroyed_us IS NULL",
                    &[&(erasure.key as i64), &erasure.mark.as_slice(), &erasure.at.as_microsecond()],
                )?;
                if done == 1 {
                    gone.push(erasure.key.to_string());
                }
            }
            if !gone.is_empty() {
                changed(&mut turn)?;
                for some in gone.chunks(500) {
                    turn.execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &some.join(",")])?;
                }
            }
            turn.commit()?;
            // The former rows still lie in their pages until somebody cleans up. What fails here, autovacuum does.
            if !gone.is_empty()
                && let Err(error) = client.batch_execute("VACUUM uzima_keys.data_key")
            {
                tracing::warn!(%error, "uzima_keys.data_key was not vacuumed");
            }
            Ok(())
        })
    }

    fn erasures(&self) -> Result<Vec<Erasure>> {
        self.with(|client| {
            let rows = client.query(
                "SELECT id, mark, destroyed_us FROM uzima_keys.data_key WHERE destroyed_us IS NOT NULL ORDER BY id",
                &[],
            )?;
            rows.iter().map(erasure).collect()
        })
    }

    fn rotate(&self) -> Result<u64> {
        // Over a connection of its own: reads need the other one.
        let client = &mut connect(&self.target)?;
        // First the new tenant key, so that every server can read it when it meets it; then the keys, by and by.
        let known = self.look_again(client)?;
        let tenant = Tenant { generation: known.newest()?.generation + 1, key: Secret32::random()? };
        let mut turn = client.transaction()?;
        turn.execute(TURN, &[])?;
        let generation = tenant.generation as i32;
        turn.execute(
            "INSERT INTO uzima_keys.tenant_key (generation, sealed) VALUES ($1, $2)",
            &[&generation, &wrap_tenant(&known.id, &self.files, &tenant)?],
        )?;
        changed(&mut turn)?;
        turn.commit()?;
        self.look_again(client)?;
        let mut rotated = 0;
        loop {
            let mut turn = client.transaction()?;
            turn.execute(TURN, &[])?;
            let rows = turn.query(
                    "SELECT id, generation, sealed FROM uzima_keys.data_key WHERE sealed IS NOT NULL AND generation < $1 \
                     ORDER BY id LIMIT $2",
                    &[&generation, &AT_ONCE],
                )?;
            for row in &rows {
                let (number, of): (i64, i32) = (row.try_get(0)?, row.try_get(1)?);
                let known = self.known();
                let former = known.tenants.iter().find(|tenant| tenant.generation == of as u32);
                let former = former.ok_or_else(|| Error::Corrupt(format!("tenant key {of}")))?;
                let key = unwrap(&known.id, number as u64, former, row.try_get(2)?)?;
                turn.execute(
                    "UPDATE uzima_keys.data_key SET generation = $2, sealed = $3 WHERE id = $1",
                    &[&number, &generation, &wrap(&known.id, number as u64, &tenant, &key)?],
                )?;
            }
            if rows.is_empty() {
                // A server that just read a key under the former one asks again when it is not there.
                turn.execute("DELETE FROM uzima_keys.tenant_key WHERE generation < $1", &[&generation])?;
                changed(&mut turn)?;
                turn.commit()?;
                break;
            }
            turn.commit()?;
            rotated += rows.len() as u64;
        }
        self.look_again(client)?;
        Ok(rotated)
    }

    fn changes(&self) -> Result<u64> {
        self.with(|client| {
            let changes: i64 = client.query_one("SELECT changes FROM uzima_keys.store", &[])?.try_get(0)?;
            Ok(changes as u64)
        })
    }

    fn all(&self, each: &mut dyn FnMut(u64, Kept) -> Result<()>) -> Result<()> {
        let mut after = -1i64;
        loop {
            let rows = self.with(|client| {
                Ok(client.query(
                    "SELECT id, mark, destroyed_us, generation, sealed FROM uzima_keys.data_key WHERE id > $1 ORDER BY id LIMIT $2",
                    &[&after, &AT_ONCE],
                )?)
            })?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.try_get(0)?;
            for row in &rows {
                let number = row.try_get::<_, i64>(0)? as u64;
                let kept = match row.try_get::<_, Option<&[u8]>>(4)? {
                    Some(sealed) => {
                        let generation = row.try_get(3)?;
                        Kept::Key(self.with(|client| self.key(client, number, generation, sealed))?)
                    }
                    None => Kept::Destroyed(erasure(row)?),
                };
                each(number, kept)?;
            }
        }
    }

    fn adopt(&self, id: [u8; 16], keys: &mut dyn Iterator<Item = (u64, Kept)>) -> Result<()> {
        let mut keys: Vec<(u64, Kept)> = keys.collect();
        keys.sort_by_key(|(number, _)| *number);
        self.with(|client| {
            let mut turn = client.transaction()?;
            turn.execute(TURN, &[])?;
            let tenant = Tenant { generation: 1, key: Secret32::random()? };
            turn.batch_execute("DELETE FROM uzima_keys.data_key; DELETE FROM uzima_keys.tenant_key")?;
            turn.execute("UPDATE uzima_keys.store SET id = $1, changes = changes + 1", &[&id.as_slice()])?;
            turn.execute(
                "INSERT INTO uzima_keys.tenant_key (generation, sealed) VALUES (1, $1)",
                &[&wrap_tenant(&id, &self.files, &tenant)?],
            )?;
            let insert = turn.prepare(
                "INSERT INTO uzima_keys.data_key (id, generation, sealed, mark, destroyed_us) VALUES ($1, $2, $3, $4, $5)",
            )?;
            for (number, kept) in &keys {
                let number = *number as i64;
                match kept {
                    Kept::Key(key) => {
                        let sealed = wrap(&id, number as u64, &tenant, key)?;
                        turn.execute(&insert, &[&number, &1i32, &sealed, &None::<Vec<u8>>, &None::<i64>])?;
                    }
                    Kept::Destroyed(erasure) => {
                        let (mark, at) = (erasure.mark.as_slice(), erasure.at.as_microsecond());
                        turn.execute(&insert, &[&number, &0i32, &None::<Vec<u8>>, &mark, &at])?;
                    }
                }
            }
            let last = keys.last().map_or(1, |(number, _)| (*number as i64).max(1));
            turn.execute("SELECT setval('uzima_keys.data_key_number', $1)", &[&last])?;
            turn.commit()?;
            self.look_again(client)?;
            Ok(())
        })
    }
}
