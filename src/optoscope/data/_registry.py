"""The named datasets: where they are published, their checksums, and their readers."""

from optoscope._core.registry import Registry
from optoscope.data._cifar import CifarImages
from optoscope.data._fetch import RemoteFile
from optoscope.data._readers import IdxImages, PlainText, read_digits
from optoscope.data._sources import ImageSource, TextSource

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"

_MNIST_FILES = (
    RemoteFile(
        f"{_MNIST}train-images-idx3-ubyte.gz",
        md5="f68b3c2dcbeaaa9fbdd348bbdeb94873",
        content_sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        size=9_912_422,
    ),
    RemoteFile(
        f"{_MNIST}train-labels-idx1-ubyte.gz",
        md5="d53e105ee54ea40749a09fcbcd1e9432",
        content_sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        size=28_881,
    ),
    RemoteFile(
        f"{_MNIST}t10k-images-idx3-ubyte.gz",
        md5="9fb629c4189551a2d022fa330f9573f3",
        content_sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        size=1_648_877,
    ),
    RemoteFile(
        f"{_MNIST}t10k-labels-idx1-ubyte.gz",
        md5="ec29112dd5afa0611ce80d1b7f02629c",
        content_sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        size=4_542,
    ),
)
# Of Fashion-MNIST and CIFAR-10 only the md5 of the compressed files is known for certain.
_FASHION_FILES = (
    RemoteFile(
        f"{_FASHION}train-images-idx3-ubyte.gz",
        md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        size=26_421_880,
    ),
    RemoteFile(
        f"{_FASHION}train-labels-idx1-ubyte.gz", md5="25c81989df183df01b3e8a0aad5dffbe", size=29_515
    ),
    RemoteFile(
        f"{_FASHION}t10k-images-idx3-ubyte.gz",
        md5="bef4ecab320f06d8554ea6380940ec79",
        size=4_422_102,
    ),
    RemoteFile(
        f"{_FASHION}t10k-labels-idx1-ubyte.gz", md5="bb300cfdad3c16e7a12a480ee83cd310", size=5_148
    ),
)
_CIFAR_ARCHIVE = RemoteFile(
    f"{_CIFAR}cifar-10-binary.tar.gz", md5="c32a1d4ab5d03f1284b67883e8d87530", size=170_052_171
)
_SHAKESPEARE_FILE = RemoteFile(
    f"{_SHAKESPEARE}input.txt",
    content_sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    size=1_115_394,
)

SOURCES: Registry[ImageSource | TextSource] = Registry("dataset")
SOURCES.register("digits", ImageSource(read_digits, maximum=16, validation_size=200))
SOURCES.register("mnist", ImageSource(IdxImages(_MNIST_FILES)))
SOURCES.register("fashion_mnist", ImageSource(IdxImages(_FASHION_FILES)))
SOURCES.register("cifar10", ImageSource(CifarImages(_CIFAR_ARCHIVE)))
SOURCES.register("tinyshakespeare", TextSource(PlainText(_SHAKESPEARE_FILE)))
