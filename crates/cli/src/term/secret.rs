//! Asking for a secret: what is typed is not shown.

use std::io::{BufRead as _, Write as _};

use zeroize::Zeroizing;

use crate::failure::{Failure, Result};

/// Asks at the terminal that standard input is.
pub(crate) fn ask(prompt: &str) -> Result<Zeroizing<String>> {
    let failed = |e: std::io::Error| Failure::input("cannot ask for the password").why(e);
    let mut terminal = anstream::stderr();
    let mut line = Zeroizing::new(String::with_capacity(512));
    let read = {
        // Before anybody can know that something may be typed.
        let _hidden = Hidden::begin().map_err(failed)?;
        write!(terminal, "{prompt}").and_then(|()| terminal.flush()).map_err(failed)?;
        std::io::stdin().lock().read_line(&mut line)
    };
    writeln!(terminal).map_err(failed)?;
    read.map_err(failed)?;
    let len = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(len);
    Ok(line)
}

/// While it lives the terminal does not show what is typed.
#[cfg(unix)]
struct Hidden(rustix::termios::Termios);

#[cfg(unix)]
impl Hidden {
    fn begin() -> std::io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin())?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &now)?;
        Ok(Self(before))
    }
}

#[cfg(unix)]
impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing either.
        let _ =
            rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Drain, &self.0);
    }
}

/// Where nothing can be hidden nothing is asked.
#[cfg(not(unix))]
struct Hidden;

#[cfg(not(unix))]
impl Hidden {
    fn begin() -> std::io::Result<Self> {
        Err(std::io::Error::other("here a password is read from standard input only: pipe it in as one line"))
    }
}
