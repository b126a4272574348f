mod aws;
mod github;
mod reconnect;
mod renew;
mod roles;
mod secrets;
