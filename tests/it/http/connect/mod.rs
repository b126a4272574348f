mod aws;
mod github;
