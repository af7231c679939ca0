"""What can go wrong between a user and a flow. Each error says what to do next.

FlowError
├── SettingsError        a preset, file or field that cannot be used     exit code 2
├── ServerUnreachable    a server that should answer does not            exit code 3
├── ServerFailed         a server that was started here ended by itself  exit code 3
├── RunFailed            the flow run ended badly                        exit code 1
└── NothingFound         a model, stage or flow that no record names     exit code 1
"""


class FlowError(Exception):
    """Anything the command line tells its user in one paragraph; `exit_code` is what the process ends with."""

    exit_code = 1


class SettingsError(FlowError):
    exit_code = 2


class ServerUnreachable(FlowError):
    exit_code = 3


class ServerFailed(FlowError):
    exit_code = 3


class RunFailed(FlowError):
    pass


class NothingFound(FlowError):
    pass
