mod again;
mod aws;
mod github;
mod outdated;
mod renew;
mod roles;
mod secrets;
