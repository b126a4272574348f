mod aws;
mod github;
mod outdated_role;
mod reconnect;
mod renew;
mod roles;
mod secrets;
