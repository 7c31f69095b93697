//! Users, sessions, tokens: the same for every server, from the commit on.

use tokio_postgres::Row;

use super::PostgresStore;
use super::conn::{self, Conn};
use crate::store::access::role;
use crate::store::{
    Accounts, Answer, PasswordHash, Role, SecretHash, SessionRow, Standing, StoreError, TokenRow, UserRow,
};

impl Accounts for PostgresStore {
    fn add_user(&self, user: UserRow) -> Answer<'_, bool> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| add_user(&conn, &user)) })
    }

    fn set_password(&self, name: &str, password: PasswordHash) -> Answer<'_, bool> {
        let name = name.to_owned();
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| set_password(&conn, &name, &password)) })
    }

    fn set_role(&self, name: &str, role: Role) -> Answer<'_, bool> {
        let name = name.to_owned();
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| set_role(&conn, &name, role)) })
    }

    fn remove_user(&self, name: &str) -> Answer<'_, bool> {
        let name = name.to_owned();
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| remove_user(&conn, &name)) })
    }

    fn user(&self, name: &str) -> Answer<'_, Option<UserRow>> {
        let name = name.to_owned();
        Box::pin(async move { conn::read!(self.pool, |conn| user(&conn, &name)) })
    }

    fn users(&self) -> Answer<'_, Vec<UserRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| users(&conn)) })
    }

    fn add_token(&self, token: TokenRow) -> Answer<'_, bool> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| add_token(&conn, &token)) })
    }

    fn remove_token(&self, name: &str) -> Answer<'_, bool> {
        let name = name.to_owned();
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| remove_token(&conn, &name)) })
    }

    fn tokens(&self) -> Answer<'_, Vec<TokenRow>> {
        Box::pin(async move { conn::read!(self.pool, |conn| tokens(&conn)) })
    }

    fn begin_session(&self, session: SessionRow, checked: PasswordHash) -> Answer<'_, bool> {
        Box::pin(
            async move { conn::write!(self.open_pool()?, |conn| begin_session(&conn, &session, &checked)) },
        )
    }

    fn see_session(&self, secret: SecretHash, t_ms: i64) -> Answer<'_, ()> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| see_session(&conn, secret, t_ms)) })
    }

    fn end_session(&self, secret: SecretHash) -> Answer<'_, ()> {
        Box::pin(async move { conn::write!(self.open_pool()?, |conn| end_session(&conn, secret)) })
    }

    fn forget_sessions(&self, created_before_ms: i64, seen_before_ms: i64) -> Answer<'_, u64> {
        Box::pin(async move {
            conn::write!(self.open_pool()?, |conn| forget_sessions(&conn, created_before_ms, seen_before_ms))
        })
    }

    fn standing(&self, secret: Option<SecretHash>) -> Answer<'_, Standing> {
        Box::pin(async move { conn::read!(self.pool, |conn| standing(&conn, secret)) })
    }
}

async fn add_user(conn: &Conn, new: &UserRow) -> Result<bool, StoreError> {
    let sql = "INSERT INTO account VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    let n = conn.execute(sql, &[&new.name, &new.role.word(), &new.password.0, &new.t_created]).await?;
    Ok(n == 1)
}

/// Whoever was logged in under the old password is no longer.
async fn set_password(conn: &Conn, name: &str, password: &PasswordHash) -> Result<bool, StoreError> {
    // The row first: a login that goes on at the same time waits for it, and then finds the new password.
    let n = conn.execute("UPDATE account SET password = $2 WHERE name = $1", &[&name, &password.0]).await?;
    conn.execute("DELETE FROM session WHERE account = $1", &[&name]).await?;
    Ok(n == 1)
}

async fn set_role(conn: &Conn, name: &str, role: Role) -> Result<bool, StoreError> {
    Ok(conn.execute("UPDATE account SET role = $2 WHERE name = $1", &[&name, &role.word()]).await? == 1)
}

async fn remove_user(conn: &Conn, name: &str) -> Result<bool, StoreError> {
    Ok(conn.execute("DELETE FROM account WHERE name = $1", &[&name]).await? == 1)
}

async fn user(conn: &Conn, name: &str) -> Result<Option<UserRow>, StoreError> {
    let sql = "SELECT name, role, password, t_created FROM account WHERE name = $1";
    conn.row(sql, &[&name]).await?.as_ref().map(user_row).transpose()
}

async fn users(conn: &Conn) -> Result<Vec<UserRow>, StoreError> {
    let sql = "SELECT name, role, password, t_created FROM account ORDER BY name";
    conn.rows(sql, &[]).await?.iter().map(user_row).collect()
}

async fn add_token(conn: &Conn, new: &TokenRow) -> Result<bool, StoreError> {
    let sql = "INSERT INTO token VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let (secret, role) = (new.secret.0.as_slice(), new.role.word());
    Ok(conn.execute(sql, &[&new.name, &role, &secret, &new.t_created, &new.t_expires]).await? == 1)
}

async fn remove_token(conn: &Conn, name: &str) -> Result<bool, StoreError> {
    Ok(conn.execute("DELETE FROM token WHERE name = $1", &[&name]).await? == 1)
}

async fn tokens(conn: &Conn) -> Result<Vec<TokenRow>, StoreError> {
    let sql = "SELECT name, role, secret, t_created, t_expires FROM token ORDER BY name";
    conn.rows(sql, &[]).await?.iter().map(token_row).collect()
}

/// False if the user is not there any more, or has another password than the one that was checked.
async fn begin_session(conn: &Conn, new: &SessionRow, checked: &PasswordHash) -> Result<bool, StoreError> {
    // The lock keeps the password and the user as they are until this is committed.
    let sql = "INSERT INTO session SELECT $1, name, $3, $4 FROM account WHERE name = $2 AND password = $5 FOR UPDATE";
    let secret = new.secret.0.as_slice();
    let n = conn.execute(sql, &[&secret, &new.user, &new.t_created, &new.t_seen, &checked.0]).await?;
    Ok(n == 1)
}

async fn see_session(conn: &Conn, secret: SecretHash, t_ms: i64) -> Result<(), StoreError> {
    let sql = "UPDATE session SET t_seen = GREATEST(t_seen, $2) WHERE secret = $1";
    conn.execute(sql, &[&secret.0.as_slice(), &t_ms]).await?;
    Ok(())
}

async fn end_session(conn: &Conn, secret: SecretHash) -> Result<(), StoreError> {
    conn.execute("DELETE FROM session WHERE secret = $1", &[&secret.0.as_slice()]).await?;
    Ok(())
}

async fn forget_sessions(conn: &Conn, created_before: i64, seen_before: i64) -> Result<u64, StoreError> {
    let sql = "DELETE FROM session WHERE t_created < $1 OR t_seen < $2";
    conn.execute(sql, &[&created_before, &seen_before]).await
}

async fn standing(conn: &Conn, secret: Option<SecretHash>) -> Result<Standing, StoreError> {
    // One statement, so that all of it is of one moment.
    let row = conn
        .row(
            "SELECT EXISTS (SELECT 1 FROM account), t.name, t.role, t.t_created, t.t_expires, \
             s.account, s.t_created, s.t_seen, a.role FROM (SELECT $1::bytea AS secret) asked \
             LEFT JOIN token t ON t.secret = asked.secret LEFT JOIN session s ON s.secret = asked.secret \
             LEFT JOIN account a ON a.name = s.account",
            &[&secret.as_ref().map(|secret| secret.0.as_slice())],
        )
        .await?;
    let (Some(row), Some(secret)) = (&row, secret) else {
        let has_users = row.map(|row| row.try_get(0)).transpose()?.unwrap_or(true);
        return Ok(Standing { has_users, ..Standing::default() });
    };
    let token = match row.try_get::<_, Option<String>>(1)? {
        Some(name) => Some(TokenRow {
            name,
            role: role(row.try_get(2)?)?,
            secret,
            t_created: row.try_get(3)?,
            t_expires: row.try_get(4)?,
        }),
        None => None,
    };
    let session = match row.try_get::<_, Option<String>>(5)? {
        Some(user) => {
            let kept = SessionRow { secret, user, t_created: row.try_get(6)?, t_seen: row.try_get(7)? };
            Some((kept, role(row.try_get(8)?)?))
        }
        None => None,
    };
    Ok(Standing { has_users: row.try_get(0)?, token, session })
}

fn user_row(row: &Row) -> Result<UserRow, StoreError> {
    Ok(UserRow {
        name: row.try_get(0)?,
        role: role(row.try_get(1)?)?,
        password: PasswordHash(row.try_get(2)?),
        t_created: row.try_get(3)?,
    })
}

fn token_row(row: &Row) -> Result<TokenRow, StoreError> {
    let secret: &[u8] = row.try_get(2)?;
    let damaged = |_| StoreError::Database("a token's hash has not 32 bytes".into());
    Ok(TokenRow {
        name: row.try_get(0)?,
        role: role(row.try_get(1)?)?,
        secret: SecretHash(secret.try_into().map_err(damaged)?),
        t_created: row.try_get(3)?,
        t_expires: row.try_get(4)?,
    })
}
