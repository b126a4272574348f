"""The commands of Helm that releases use, by Helm 4's own code: `registry login`, `push`, `pull`. HELM_CREDENTIALS is the file of logins."""

import os
import sys

import helm_python as helm

arguments = [argument for argument in sys.argv[1:] if argument != "--plain-http"]
client = helm.RegistryClient(plain_http="--plain-http" in sys.argv, credentials_file=os.environ["HELM_CREDENTIALS"])
with client:
    try:
        match arguments:
            case ["registry", "login", host, "--username", user, "--password-stdin"]:
                client.login(host, user, sys.stdin.read().strip(), plain_http="--plain-http" in sys.argv)
            case ["push", archive, remote]:
                client.push(archive, remote, plain_http="--plain-http" in sys.argv)
                with helm.Chart.load(archive) as chart:
                    reference = f"{remote}/{chart.name}:{chart.version}"
                # Helm's program prints so, on standard error.
                print(f"Pushed: {reference}\nDigest: {client.resolve(reference)['digest']}", file=sys.stderr)
            case ["pull", remote, "--version", version]:
                client.pull(remote, version=version, plain_http="--plain-http" in sys.argv)
            case _:
                sys.exit(f"unknown command: {arguments}")
    except helm.HelmError as error:
        sys.exit(str(error))
