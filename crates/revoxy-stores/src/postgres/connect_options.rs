//! Converts the options of a PostgreSQL server to options of a connection.

use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::super::StoreError;
use super::super::options::PostgresOptions;

/// The URL parameters that are supported. The library would ignore any other silently, whatever it was meant for.
const PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
    "application_name",
];

/// An option that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableOption {
    /// The option's name in the configuration.
    pub key: &'static str,
    /// What is wrong with the option. Never quotes its value.
    pub why: String,
}

impl From<UnusableOption> for StoreError {
    fn from(option: UnusableOption) -> Self {
        match option.key {
            // The file may be about to be replaced.
            "password_file" => Self::Unavailable(option.why),
            _ => Self::Failed(option.why),
        }
    }
}

impl PostgresOptions {
    /// Checks whether the options can be used, without connecting.
    pub fn validate(&self) -> Result<(), UnusableOption> {
        self.connect_options().map(drop)
    }

    /// Returns where the server is: `host:port`, or the directory of its socket.
    pub(super) fn address(&self) -> Result<String, UnusableOption> {
        let options = self.connect_options()?;
        let (host, port) = (options.get_host(), options.get_port());
        Ok(match options.get_socket() {
            Some(directory) => directory.display().to_string(),
            None if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
            None => format!("{host}:{port}"),
        })
    }

    /// Returns the options for one connection, with the password that is in the file now.
    pub(super) fn connect_options(&self) -> Result<PgConnectOptions, UnusableOption> {
        let wrong = |why: &str| UnusableOption {
            key: "url",
            why: format!("cannot be used: {why}"),
        };
        let url = Url::parse(&self.url).map_err(|e| wrong(&e.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong(
                "it does not begin with postgres://, as in postgres://revoxy@db:5432/revoxy",
            ));
        }
        for (name, _) in url.query_pairs() {
            let known = PARAMETERS.contains(&&*name) || name.starts_with("options[");
            if !known {
                return Err(wrong(&format!(
                    "the parameter `{name}` is not known; a schema is chosen by `options=-csearch_path%3Dname`"
                )));
            }
        }
        // The library's message may quote what it could not parse, which may be a password.
        let options = PgConnectOptions::from_str(&self.url)
            .map_err(|_| wrong("a parameter has a value that cannot be"))?;
        // The library trusts the public certificate authorities in addition to the authorities in `sslrootcert`:
        // without a check of the name, anybody with a certificate for any name would be accepted.
        if matches!(options.get_ssl_mode(), PgSslMode::VerifyCa) {
            return Err(wrong(
                "with sslmode=verify-ca a certificate for any name would do: say sslmode=verify-full",
            ));
        }
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("revoxy"),
        };
        // Poolers reject the startup parameter that the library would send by default, and the tables contain no
        // floats.
        let options = options.extra_float_digits(None);
        let Some(path) = &self.password_file else {
            return Ok(options);
        };
        let password = std::fs::read_to_string(path).map_err(|error| UnusableOption {
            key: "password_file",
            why: format!("cannot read {}: {error}", path.display()),
        })?;
        Ok(options.password(password.trim_end_matches(['\r', '\n'])))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(url: &str) -> Result<(), String> {
        let options = PostgresOptions {
            url: url.to_owned(),
            password_file: None,
            max_connections: 1,
            connect_timeout: Duration::from_secs(1),
        };
        options.validate().map_err(|e| e.why)
    }

    #[test]
    fn a_parameter_that_would_be_passed_over_is_a_mistake() {
        assert_eq!(
            check("postgres://u@db/revoxy?sslmode=verify-full&options=-csearch_path%3Da"),
            Ok(())
        );
        let error = check("postgres://u@db/revoxy?search_path=a").unwrap_err();
        assert!(
            error.contains("`search_path`") && error.contains("options="),
            "{error}"
        );
        for (url, part) in [
            ("redis://db", "postgres://"),
            ("postgres://u@db/x?sslmode=verify-ca", "verify-full"),
            ("no url", "cannot be used"),
            (
                "postgres://u:secret@db/x?sslmode=secret",
                "a value that cannot be",
            ),
        ] {
            let error = check(url).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
