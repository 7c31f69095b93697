//! Users, sessions, tokens.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::store::{PasswordHash, SecretHash, SessionRow, Standing, StoreError, TokenRow, UserRow, role};

const USER: &str = "SELECT name, role, password, t_created FROM account";
const TOKEN: &str = "SELECT name, role, secret, t_created, t_expires FROM token";

pub(super) fn add_user(conn: &Connection, new: &UserRow) -> Result<bool, StoreError> {
    let n = conn
        .prepare_cached("INSERT INTO account VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?
        .execute(params![new.name, new.role.word(), new.password.0, new.t_created])?;
    Ok(n == 1)
}

/// Whoever was logged in under the old password is no longer.
pub(super) fn set_password(
    conn: &Connection,
    name: &str,
    password: &PasswordHash,
) -> Result<bool, StoreError> {
    conn.prepare_cached("DELETE FROM session WHERE account = ?1")?.execute([name])?;
    let n = conn
        .prepare_cached("UPDATE account SET password = ?2 WHERE name = ?1")?
        .execute(params![name, password.0])?;
    Ok(n == 1)
}

pub(super) fn remove_user(conn: &Connection, name: &str) -> Result<bool, StoreError> {
    conn.prepare_cached("DELETE FROM session WHERE account = ?1")?.execute([name])?;
    Ok(conn.prepare_cached("DELETE FROM account WHERE name = ?1")?.execute([name])? == 1)
}

pub(super) fn user(conn: &Connection, name: &str) -> Result<Option<UserRow>, StoreError> {
    let mut one = conn.prepare_cached(&format!("{USER} WHERE name = ?1"))?;
    one.query_row([name], |row| Ok(user_row(row))).optional()?.transpose()
}

pub(super) fn users(conn: &Connection) -> Result<Vec<UserRow>, StoreError> {
    let mut all = conn.prepare_cached(&format!("{USER} ORDER BY name"))?;
    let rows = all.query_map([], |row| Ok(user_row(row)))?;
    rows.map(|row| row?).collect()
}

pub(super) fn add_token(conn: &Connection, new: &TokenRow) -> Result<bool, StoreError> {
    let n = conn
        .prepare_cached("INSERT INTO token VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")?
        .execute(params![new.name, new.role.word(), new.secret.0, new.t_created, new.t_expires])?;
    Ok(n == 1)
}

pub(super) fn remove_token(conn: &Connection, name: &str) -> Result<bool, StoreError> {
    Ok(conn.prepare_cached("DELETE FROM token WHERE name = ?1")?.execute([name])? == 1)
}

pub(super) fn tokens(conn: &Connection) -> Result<Vec<TokenRow>, StoreError> {
    let mut all = conn.prepare_cached(&format!("{TOKEN} ORDER BY name"))?;
    let rows = all.query_map([], |row| Ok(token_row(row)))?;
    rows.map(|row| row?).collect()
}

/// False if the user is not there any more, or has another password than the one that was checked.
pub(super) fn begin_session(
    conn: &Connection,
    new: &SessionRow,
    checked: &PasswordHash,
) -> Result<bool, StoreError> {
    let n = conn
        .prepare_cached(
            "INSERT INTO session SELECT ?1, name, ?3, ?4 FROM account WHERE name = ?2 AND password = ?5",
        )?
        .execute(params![new.secret.0, new.user, new.t_created, new.t_seen, checked.0])?;
    Ok(n == 1)
}

pub(super) fn see_session(conn: &Connection, secret: SecretHash, t_ms: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE session SET t_seen = MAX(t_seen, ?2) WHERE secret = ?1")?
        .execute(params![secret.0, t_ms])?;
    Ok(())
}

pub(super) fn end_session(conn: &Connection, secret: SecretHash) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM session WHERE secret = ?1")?.execute([secret.0])?;
    Ok(())
}

pub(super) fn forget_sessions(
    conn: &Connection,
    created_before: i64,
    seen_before: i64,
) -> Result<u64, StoreError> {
    let n = conn
        .prepare_cached("DELETE FROM session WHERE t_created < ?1 OR t_seen < ?2")?
        .execute([created_before, seen_before])?;
    Ok(n as u64)
}

pub(super) fn standing(conn: &Connection, secret: Option<SecretHash>) -> Result<Standing, StoreError> {
    let has_users =
        conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM account)")?.query_row([], |row| row.get(0))?;
    let Some(secret) = secret else { return Ok(Standing { has_users, ..Standing::default() }) };
    let mut token = conn.prepare_cached(&format!("{TOKEN} WHERE secret = ?1"))?;
    let token = token.query_row([secret.0], |row| Ok(token_row(row))).optional()?.transpose()?;
    let mut session = conn.prepare_cached(
        "SELECT s.account, s.t_created, s.t_seen, a.role FROM session s JOIN account a ON a.name = s.account \
         WHERE s.secret = ?1",
    )?;
    let session = session
        .query_row([secret.0], |row| {
            let kept = SessionRow { secret, user: row.get(0)?, t_created: row.get(1)?, t_seen: row.get(2)? };
            Ok((kept, row.get::<_, String>(3)?))
        })
        .optional()?
        .map(|(session, word)| Ok::<_, StoreError>((session, role(&word)?)))
        .transpose()?;
    Ok(Standing { has_users, token, session })
}

fn user_row(row: &Row<'_>) -> Result<UserRow, StoreError> {
    Ok(UserRow {
        name: row.get(0)?,
        role: role(&row.get::<_, String>(1)?)?,
        password: PasswordHash(row.get(2)?),
        t_created: row.get(3)?,
    })
}

fn token_row(row: &Row<'_>) -> Result<TokenRow, StoreError> {
    Ok(TokenRow {
        name: row.get(0)?,
        role: role(&row.get::<_, String>(1)?)?,
        secret: SecretHash(row.get(2)?),
        t_created: row.get(3)?,
        t_expires: row.get(4)?,
    })
}
