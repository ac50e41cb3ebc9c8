//! Devices of the clinic that several people share, and their PINs there.

use crate::{Result, Tx, params};
use jiff::Timestamp;

/// People that may have a PIN on one device.
pub const MAX_PEOPLE: i64 = 50;

#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// SHA-256 of the token that the device keeps.
    pub id_hash: [u8; 32],
    /// e.g. `Tablet, ward 3`
    pub name: String,
    pub made_by: i64,
    pub created: Timestamp,
    pub last_used: Timestamp,
}

fn read(row: &crate::Row<'_>) -> Result<Device> {
    Ok(Device {
        id_hash: row.bytes(0)?.try_into().map_err(|_| crate::Error::Corrupt("device".into()))?,
        name: row.string(1)?,
        made_by: row.int(2)?,
        created: row.time(3)?,
        last_used: row.time(4)?,
    })
}

const COLUMNS: &str = "id_hash, name, made_by, created_us, last_us";

pub fn insert(tx: &mut dyn Tx, device: &Device) -> Result<()> {
    tx.execute(
        "INSERT INTO shared_device (id_hash, name, made_by, created_us, last_us) VALUES ($1, $2, $3, $4, $5)",
        params![&device.id_hash, &device.name, device.made_by, device.created, device.last_used],
    )?;
    Ok(())
}

pub fn load(tx: &mut dyn Tx, id_hash: &[u8; 32]) -> Result<Option<Device>> {
    tx.one(&format!("SELECT {COLUMNS} FROM shared_device WHERE id_hash = $1"), params![id_hash], read)
}

/// All devices, oldest first, at most 1,000.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Device>> {
    tx.all(&format!("SELECT {COLUMNS} FROM shared_device ORDER BY created_us, id_hash LIMIT 1000"), &[], read)
}

/// Returns whether there was one.
pub fn rename(tx: &mut dyn Tx, id_hash: &[u8; 32], name: &str) -> Result<bool> {
    let sql = "UPDATE shared_device SET name = $2 WHERE id_hash = $1";
    Ok(tx.execute(sql, params![id_hash, name])? == 1)
}

/// The device and its PINs. Returns whether there was one.
pub fn remove(tx: &mut dyn Tx, id_hash: &[u8; 32]) -> Result<bool> {
    tx.execute("DELETE FROM device_pin WHERE device = $1", params![id_hash])?;
    Ok(tx.execute("DELETE FROM shared_device WHERE id_hash = $1", params![id_hash])? == 1)
}

/// Somebody's PIN on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Pin {
    pub account: i64,
    /// PHC string of argon2id.
    pub pin_hash: String,
    /// Wrong ones since the last right one.
    pub failures: u32,
}

/// Sets or replaces it, without failures. Returns false when the device has [MAX_PEOPLE] already.
pub fn set_pin(
    tx: &mut dyn Tx,
    device: &[u8; 32],
    account: i64,
    pin_hash: &str,
    now: Timestamp,
) -> Result<bool> {
    let others = tx.one(
        "SELECT count(*) FROM device_pin WHERE device = $1 AND account <> $2",
        params![device, account],
        |row| row.int(0),
    )?;
    if others.unwrap_or(0) >= MAX_PEOPLE {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO device_pin (device, account, pin_hash, failures, created_us) VALUES ($1, $2, $3, 0, $4) \
         ON CONFLICT (device, account) DO UPDATE SET pin_hash = excluded.pin_hash, failures = 0, \
         created_us = excluded.created_us",
        params![device, account, pin_hash, now],
    )?;
    tx.execute("UPDATE shared_device SET last_us = $2 WHERE id_hash = $1", params![device, now])?;
    Ok(true)
}

pub fn pin(tx: &mut dyn Tx, device: &[u8; 32], account: i64) -> Result<Option<Pin>> {
    tx.one(
        "SELECT account, pin_hash, failures FROM device_pin WHERE device = $1 AND account = $2",
        params![device, account],
        |row| Ok(Pin { account: row.int(0)?, pin_hash: row.string(1)?, failures: row.int(2)? as u32 }),
    )
}

/// Who has a PIN on this device, by name: account and display name.
pub fn people(tx: &mut dyn Tx, device: &[u8; 32]) -> Result<Vec<(i64, String)>> {
    tx.all(
        "SELECT p.account, a.display FROM device_pin p JOIN account a ON a.id = p.account \
         WHERE p.device = $1 AND a.disabled = 0 ORDER BY a.display, p.account LIMIT 100",
        params![device],
        |row| Ok((row.int(0)?, row.string(1)?)),
    )
}

/// Counts a try before it is made; returns how many there are since the last right one.
pub fn count_try(tx: &mut dyn Tx, device: &[u8; 32], account: i64) -> Result<u32> {
    let tries = tx.one(
        "UPDATE device_pin SET failures = failures + 1 WHERE device = $1 AND account = $2 RETURNING failures",
        params![device, account],
        |row| row.int(0),
    )?;
    Ok(tries.unwrap_or(0) as u32)
}

/// The PIN was right.
pub fn clear_tries(tx: &mut dyn Tx, device: &[u8; 32], account: i64, now: Timestamp) -> Result<()> {
    let sql = "UPDATE device_pin SET failures = 0 WHERE device = $1 AND account = $2";
    tx.execute(sql, params![device, account])?;
    tx.execute("UPDATE shared_device SET last_us = $2 WHERE id_hash = $1", params![device, now])?;
    Ok(())
}

/// Takes the PIN of one person away, on one device or (`None`) on all.
pub fn remove_pins(tx: &mut dyn Tx, device: Option<&[u8; 32]>, account: i64) -> Result<u64> {
    match device {
        Some(device) => {
            tx.execute("DELETE FROM device_pin WHERE device = $1 AND account = $2", params![device, account])
        }
        None => tx.execute("DELETE FROM device_pin WHERE account = $1", params![account]),
    }
}
