//! Users, sessions, tokens.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use crate::store::access::role;
use crate::store::{
    Accounts, Answer, PasswordHash, Role, SecretHash, SessionRow, Standing, StoreError, TokenRow, UserRow,
};

impl Accounts for SqliteStore {
    fn add_user(&self, user: UserRow) -> Answer<'_, bool> {
        self.write(move |conn, _| add_user(conn, &user))
    }

    fn set_password(&self, name: &str, password: PasswordHash) -> Answer<'_, bool> {
        let name = name.to_owned();
        self.write(move |conn, _| set_password(conn, &name, &password))
    }

    fn set_role(&self, name: &str, role: Role) -> Answer<'_, bool> {
        let name = name.to_owned();
        self.write(move |conn, _| {
            let sql = "UPDATE account SET role = ?2 WHERE name = ?1";
            Ok(conn.prepare_cached(sql)?.execute(params![name, role.word()])? == 1)
        })
    }

    fn remove_user(&self, name: &str) -> Answer<'_, bool> {
        let name = name.to_owned();
        self.write(move |conn, _| remove_user(conn, &name))
    }

    fn user(&self, name: &str) -> Answer<'_, Option<UserRow>> {
        let name = name.to_owned();
        self.read(move |conn| user(conn, &name))
    }

    fn users(&self) -> Answer<'_, Vec<UserRow>> {
        self.read(users)
    }

    fn add_token(&self, token: TokenRow) -> Answer<'_, bool> {
        self.write(move |conn, _| add_token(conn, &token))
    }

    fn remove_token(&self, name: &str) -> Answer<'_, bool> {
        let name = name.to_owned();
        self.write(move |conn, _| remove_token(conn, &name))
    }

    fn tokens(&self) -> Answer<'_, Vec<TokenRow>> {
        self.read(tokens)
    }

    fn begin_session(&self, session: SessionRow, checked: PasswordHash) -> Answer<'_, bool> {
        self.write(move |conn, _| begin_session(conn, &session, &checked))
    }

    fn see_session(&self, secret: SecretHash, t_ms: i64) -> Answer<'_, ()> {
        self.write(move |conn, _| see_session(conn, secret, t_ms))
    }

    fn end_session(&self, secret: SecretHash) -> Answer<'_, ()> {
        self.write(move |conn, _| end_session(conn, secret))
    }

    fn forget_sessions(&self, created_before_ms: i64, seen_before_ms: i64) -> Answer<'_, u64> {
        self.write(move |conn, _| forget_sessions(conn, created_before_ms, seen_before_ms))
    }

    fn standing(&self, secret: Option<SecretHash>) -> Answer<'_, Standing> {
        self.read(move |conn| standing(conn, secret))
    }
}

const USER: &str = "SELECT name, role, password, t_created FROM account";
const TOKEN: &str = "SELECT name, role, secret, t_created, t_expires FROM token";

fn add_user(conn: &Connection, new: &UserRow) -> Result<bool, StoreError> {
    let n = conn
        .prepare_cached("INSERT INTO account VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?
        .execute(params![new.name, new.role.word(), new.password.0, new.t_created])?;
    Ok(n == 1)
}

/// Whoever was logged in under the old password is no longer.
fn set_password(conn: &Connection, name: &str, password: &PasswordHash) -> Result<bool, StoreError> {
    conn.prepare_cached("DELETE FROM session WHERE account = ?1")?.execute([name])?;
    let n = conn
        .prepare_cached("UPDATE account SET password = ?2 WHERE name = ?1")?
        .execute(params![name, password.0])?;
    Ok(n == 1)
}

fn remove_user(conn: &Connection, name: &str) -> Result<bool, StoreError> {
    conn.prepare_cached("DELETE FROM session WHERE account = ?1")?.execute([name])?;
    Ok(conn.prepare_cached("DELETE FROM account WHERE name = ?1")?.execute([name])? == 1)
}

fn user(conn: &Connection, name: &str) -> Result<Option<UserRow>, StoreError> {
    let mut one = conn.prepare_cached(&format!("{USER} WHERE name = ?1"))?;
    one.query_row([name], |row| Ok(user_row(row))).optional()?.transpose()
}

fn users(conn: &Connection) -> Result<Vec<UserRow>, StoreError> {
    let mut all = conn.prepare_cached(&format!("{USER} ORDER BY name"))?;
    let rows = all.query_map([], |row| Ok(user_row(row)))?;
    rows.map(|row| row?).collect()
}

fn add_token(conn: &Connection, new: &TokenRow) -> Result<bool, StoreError> {
    let n = conn
        .prepare_cached("INSERT INTO token VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")?
        .execute(params![new.name, new.role.word(), new.secret.0, new.t_created, new.t_expires])?;
    Ok(n == 1)
}

fn remove_token(conn: &Connection, name: &str) -> Result<bool, StoreError> {
    Ok(conn.prepare_cached("DELETE FROM token WHERE name = ?1")?.execute([name])? == 1)
}

fn tokens(conn: &Connection) -> Result<Vec<TokenRow>, StoreError> {
    let mut all = conn.prepare_cached(&format!("{TOKEN} ORDER BY name"))?;
    let rows = all.query_map([], |row| Ok(token_row(row)))?;
    rows.map(|row| row?).collect()
}

/// False if the user is not there any more, or has another password than the one that was checked.
fn begin_session(conn: &Connection, new: &SessionRow, checked: &PasswordHash) -> Result<bool, StoreError> {
    let n = conn
        .prepare_cached(
            "INSERT INTO session SELECT ?1, name, ?3, ?4 FROM account WHERE name = ?2 AND password = ?5",
        )?
        .execute(params![new.secret.0, new.user, new.t_created, new.t_seen, checked.0])?;
    Ok(n == 1)
}

fn see_session(conn: &Connection, secret: SecretHash, t_ms: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE session SET t_seen = MAX(t_seen, ?2) WHERE secret = ?1")?
        .execute(params![secret.0, t_ms])?;
    Ok(())
}

fn end_session(conn: &Connection, secret: SecretHash) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM session WHERE secret = ?1")?.execute([secret.0])?;
    Ok(())
}

fn forget_sessions(conn: &Connection, created_before: i64, seen_before: i64) -> Result<u64, StoreError> {
    let n = conn
        .prepare_cached("DELETE FROM session WHERE t_created < ?1 OR t_seen < ?2")?
        .execute([created_before, seen_before])?;
    Ok(n as u64)
}

fn standing(conn: &Connection, secret: Option<SecretHash>) -> Result<Standing, StoreError> {
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
