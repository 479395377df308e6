package Whostmgr::ACLS;

# Stand-in, following "Guide to WHM Plugins - Access Control Lists" (api.docs.cpanel.net): init_acls() first, then
# hasroot() and checkacl(). Privileges of resellers stand in /var/cpanel/resellers (NAME:ACL,ACL). A privilege
# `software-...` exists only while a driver module describes it.

use strict;
use warnings;

our %ACL;
my $ready = 0;

sub init_acls {
    %ACL   = ();
    $ready = 1;
    my $user = $ENV{REMOTE_USER} // '';
    return %ACL = ( all => 1 ) if $user eq 'root';
    open my $file, '<', '/var/cpanel/resellers' or return;
    while ( my $line = <$file> ) {
        chomp $line;
        my ( $name, $list ) = split /:/, $line, 2;
        %ACL = map { $_ => 1 } split /,/, $list // '' if $name eq $user;
    }
    close $file;
    return;
}

sub hasroot {
    die "init_acls() was not called\n" if !$ready;
    return $ACL{all} ? 1 : 0;
}

sub checkacl {
    my ($name) = @_;
    die "init_acls() was not called\n" if !$ready;
    return 0 if $name =~ /\Asoftware-/ && !_described($name);
    return $ACL{all} || $ACL{$name} ? 1 : 0;
}

# Whether a driver offers the privilege, asked of the module itself.
sub _described {
    my ($name) = @_;
    for my $path ( glob '/usr/local/cpanel/Cpanel/Config/ConfigObj/Driver/*.pm' ) {
        my ($driver) = $path =~ m{/(\w+)\.pm\z} or next;
        my $package = "Cpanel::Config::ConfigObj::Driver::$driver";
        next if !eval { require $path; 1 };
        return 1 if grep { $_->{acl} eq $name } @{ $package->acl_desc() };
    }
    return 0;
}

1;
