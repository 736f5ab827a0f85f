"""Every error a Pilothouse user can see, and nothing else.

PilothouseError                     code    retry  HTTP  exit
  UserError
    InvalidManifestError            PH101   no     422   3
    NotFoundError                   PH102   no     404   3
    PolicyDeniedError               PH103   no     403   3
    ConflictError                   PH104   yes    409   3
    InvalidRequestError             PH105   no     400   3
    TooLargeError                   PH106   no     413   3
    ImageMissingError               PH107   no     422   3
    DeployFailedError               PH108   no     409   2
    UnauthorizedError               PH109   no     401   3
    PlanStaleError                  PH110   no     409   3
    RolledBackError                 PH111   no     409   1
    SupersededError                 PH112   no     409   2
    JoinRefusedError                PH113   no     403   3
    NotClusteredError               PH114   no     409   3
    HostUnfitError                  PH115   no     422   3
    NodeRemovedError                PH116   no     401   3
    NotYetError                     PH117   no     409   3
  UnavailableError
    StoreUnavailableError           PH201   yes    503   2
    RuntimeUnavailableError         PH202   yes    503   2
    ServerUnavailableError          PH203   yes    503   2
    NodeUnavailableError            PH204   yes    503   2
    StoreFullError                  PH205   yes    507   2
    StoreCorruptError               PH206   no     500   2
    WatchLostError                  PH207   yes    503   2
    QuorumLostError                 PH208   yes    503   2
    NotLeadingError                 PH209   yes    503   2
    SessionLostError                PH210   yes    503   2
    ProvisionFailedError            PH211   yes    503   2
  DriverError                       (inside the agent; never crosses HTTP)
    TemporaryError                  PH301   yes    503   2
    PermanentError                  PH302   no     422   2
  ProgrammingError
    InvalidTransitionError          PH901   no     500   2
    ForeignWriteError               PH902   no     500   2
  TermOverError                     PH903   yes    503   2
  SkewError                         PH904   no     409   2

A class carries its code, whether a retry can help, its HTTP status and the exit code of a command that ends with it;
callers never parse messages. Every code has a page, docs/reference/errors/CODE.md, with cause and cure.
"""

from typing import ClassVar


class PilothouseError(Exception):
    """Base of every error that crosses a room boundary."""

    code: ClassVar[str] = "PH000"
    title: ClassVar[str] = "Unexpected error"
    retryable: ClassVar[bool] = False
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 2


class UserError(PilothouseError):
    """The caller asked for something that cannot be done as asked."""

    status = 400
    exit_code = 3


class InvalidManifestError(UserError):
    """A Compose file or one it refers to cannot be used as it is written.

    Attributes:
        errors: Every finding, each as "FILE:LINE:COLUMN: PATH: what is wrong; what to write instead".
    """

    code = "PH101"
    title = "The manifest cannot be used"
    status = 422

    def __init__(self, message: str, errors: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors or (message,)


class NotFoundError(UserError):
    """No object of that kind has that name or id."""

    code = "PH102"
    title = "Not found"
    status = 404


class PolicyDeniedError(UserError):
    """The manifest asks for a privilege that no grant covers."""

    code = "PH103"
    title = "Refused by policy"
    status = 403


class ConflictError(UserError):
    """The object changed since it was read; read it again and retry."""

    code = "PH104"
    title = "Changed meanwhile"
    retryable = True
    status = 409


class InvalidRequestError(UserError):
    """A request, an argument or an identifier does not have the form it must have."""

    code = "PH105"
    title = "The request cannot be used"


class TooLargeError(UserError):
    """A request or a file is larger than the limit that protects the server."""

    code = "PH106"
    title = "Too large"
    status = 413


class ImageMissingError(UserError):
    """An image is neither on the node nor can it be pulled."""

    code = "PH107"
    title = "Image not available"
    status = 422


class DeployFailedError(UserError):
    """A deployment did not reach the state that was asked for."""

    code = "PH108"
    title = "The deployment failed"
    status = 409
    exit_code = 2


class UnauthorizedError(UserError):
    """The caller could not be identified."""

    code = "PH109"
    title = "Not identified"
    status = 401


class PlanStaleError(UserError):
    """The app changed since the plan was made; make the plan again and look at it."""

    code = "PH110"
    title = "The plan is stale"
    status = 409


class RolledBackError(UserError):
    """The release failed and what was before was restored."""

    code = "PH111"
    title = "Rolled back"
    status = 409
    exit_code = 1


class SupersededError(UserError):
    """A newer release took the place of the one that was waited for."""

    code = "PH112"
    title = "Superseded by a newer release"
    status = 409
    exit_code = 2


class JoinRefusedError(UserError):
    """A machine asked to join with a token that does not let it: unknown, used, expired, revoked or of another role."""

    code = "PH113"
    title = "The machine may not join"
    status = 403


class NotClusteredError(UserError):
    """The platform runs on one host; what was asked for needs a cluster (`pilothouse init`)."""

    code = "PH114"
    title = "This is not a cluster"
    status = 409


class HostUnfitError(UserError):
    """A machine that was to become a node is not fit for it, or is not the one that was meant; nothing was changed."""

    code = "PH115"
    title = "The machine cannot become a node"
    status = 422


class NodeRemovedError(UnauthorizedError):
    """The cluster has no such node any more: a person removed it, and nothing that runs there is anybody's."""

    code = "PH116"
    title = "The node was removed"


class NotYetError(UserError):
    """What was asked for came with a version of Pilothouse that not every machine runs yet."""

    code = "PH117"
    title = "Not before the upgrade is finished"
    status = 409


class UnavailableError(PilothouseError):
    """Something outside this process did not answer in time."""

    retryable = True
    status = 503


class StoreUnavailableError(UnavailableError):
    """The store did not confirm a commit; it may or may not have happened."""

    code = "PH201"
    title = "The store is not available"


class RuntimeUnavailableError(UnavailableError):
    """The container engine did not answer."""

    code = "PH202"
    title = "The container engine is not available"


class ServerUnavailableError(UnavailableError):
    """No Pilothouse server answers at the address that was tried."""

    code = "PH203"
    title = "The server is not available"


class NodeUnavailableError(UnavailableError):
    """The node that would have to answer has no session with the server."""

    code = "PH204"
    title = "The node is not connected"


class StoreFullError(UnavailableError):
    """The disk under the store is full; reads go on, writes are refused until there is room."""

    code = "PH205"
    title = "No space left for the store"
    status = 507


class QuorumLostError(StoreUnavailableError):
    """Fewer than half of the managers' stores can be reached: reads may be stale, writes are refused until they are."""

    code = "PH208"
    title = "Most managers cannot be reached"


class NotLeadingError(UnavailableError):
    """This manager does not lead, and only the one that does can answer; it is named if it is known."""

    code = "PH209"
    title = "Another manager leads"


class SessionLostError(UnavailableError):
    """The connection between an agent and a manager ended before the answer came; the question may be repeated."""

    code = "PH210"
    title = "The session was lost"


class ProvisionFailedError(UnavailableError):
    """Making a machine a node stopped half way; the message says where, and what was left on the machine."""

    code = "PH211"
    title = "Provisioning stopped"


class StoreCorruptError(PilothouseError):
    """The store's file fails its integrity check, so the server refuses to use it."""

    code = "PH206"
    title = "The store is damaged"


class WatchLostError(UnavailableError):
    """The reader of a watch fell behind what the store keeps; take a new snapshot and watch from its revision."""

    code = "PH207"
    title = "The watch fell behind"


class DriverError(PilothouseError):
    """A driver could not carry out an instruction; which of the two subclasses says whether to try again."""


class TemporaryError(DriverError):
    """The same instruction may succeed later.

    Attributes:
        delay_seconds: How long the driver advises to wait; None leaves it to the caller's back-off.
    """

    code = "PH301"
    title = "The engine could not do it yet"
    retryable = True
    status = 503

    def __init__(self, message: str, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds


class PermanentError(DriverError):
    """The same instruction will never succeed; the task must be rejected or fail."""

    code = "PH302"
    title = "The engine cannot do it"
    status = 422


class ProgrammingError(PilothouseError):
    """A bug in Pilothouse: an invariant did not hold."""


class InvalidTransitionError(ProgrammingError):
    """A writer moved a task along an arrow it does not own."""

    code = "PH901"
    title = "Illegal task transition"


class ForeignWriteError(ProgrammingError):
    """A writer changed a field that another component owns."""

    code = "PH902"
    title = "Illegal write"


class TermOverError(PilothouseError):
    """A write of a term that is over was refused: another manager leads since, so this one's loops end."""

    code = "PH903"
    title = "The term is over"
    retryable = True
    status = 503


class SkewError(PilothouseError):
    """Two processes, or a process and a store, are of versions of Pilothouse that are more than one apart."""

    code = "PH904"
    title = "Versions too far apart"
    status = 409
